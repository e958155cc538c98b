from lmwright.core.files import write_json


def evaluate(config, run, *, base, aligned):
    present = {"base": base is not None, "aligned": aligned is not None}
    write_json(run.output / "evaluation.json", present)
    run.table("Exact match", ["model", "exact match"], [[k, 0.97] for k, v in present.items() if v])
    run.samples("Answers", [{"question": f"What is {i}?", "answer": f"<b>{i}</b>"} for i in "abcd"])
    run.summarize(**{f"{name}_present": int(there) for name, there in present.items()})
