"""Verbs of the models room; imports no torch."""

import json
from pathlib import Path
from typing import Annotated

import typer

_CONVERT = """Write a model as a folder that transformers opens too, in this or another family.

SOURCE is a model folder (safetensors or .bin), a .gguf file, a llama2.c checkpoint or a hub id
(owner/name@revision). The folder appears once it was opened again with the same logits.

Examples:

  lmwright convert model.Q8_0.gguf my_model --dtype bfloat16

  lmwright convert owner/name my_model --to mistral"""


def register(app: typer.Typer) -> None:
    """Add `lmwright convert` and `lmwright inspect`."""

    @app.command("convert", help=_CONVERT)
    def convert(
        source: Annotated[str, typer.Argument(help="Folder, file or hub id.")],
        target: Annotated[Path, typer.Argument(help="Folder to write.")],
        to: Annotated[
            str | None, typer.Option(help="Family of the new folder; default: the source's.")
        ] = None,
        dtype: Annotated[
            str | None, typer.Option(help="float32, bfloat16 or float16; default: the source's.")
        ] = None,
        max_shard_size: Annotated[str, typer.Option(help="Of one file of weights.")] = "5GB",
        revision: Annotated[
            str | None, typer.Option(help="Branch, tag or commit of a model on the hub.")
        ] = None,
        tokenizer: Annotated[
            Path | None,
            typer.Option(help="Folder of its tokenizer; default: the source's, if it has one."),
        ] = None,
    ) -> None:
        from lmwright.models.convert import convert as convert_model

        convert_model(
            source,
            target,
            to=to,
            dtype=dtype,
            max_shard_size=max_shard_size,
            revision=revision,
            tokenizer=tokenizer,
            note=typer.echo,
        )

    app.command("inspect")(inspect)


def inspect(
    model: Annotated[
        str, typer.Argument(help="A run, a model folder, a hub id, or a config.json alone.")
    ],
    context: Annotated[
        int | None, typer.Option(min=1, help="Tokens of a sequence, for operations and memory.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Tell what a model is and costs: its parts, operations, memory, and a picture of it.

    Examples:

        lmwright inspect quickstart

        lmwright inspect some_model/config.json --context 8192 --json
    """
    from lmwright.models import inspection

    found = inspection.inspect(inspection.read_config(model), context)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        inspection.show(found)
