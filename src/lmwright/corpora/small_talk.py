"""What people also type into a chat: greetings, thanks, questions about something else."""

_HELLO = "Hello! Ask me what a name of Python's standard library does."
_SELF = "I am a small language model that knows names of Python's standard library."
_HELP = "Ask me what a name does, such as str.upper or math.sqrt."
_WELCOME = "You are welcome."
_BYE = "Goodbye!"
_ELSE = "I can only say what names of Python's standard library do."

SMALL_TALK: tuple[tuple[str, str], ...] = tuple(
    (said, answer)
    for answer, sayings in (
        (
            _HELLO,
            ("Hi", "hi", "Hello", "hello", "Hello!", "Hey", "hey", "Hi there", "Good morning")
            + ("good evening", "Good afternoon!", "hello there", "Hi!", "yo"),
        ),
        (
            _SELF,
            ("Who are you?", "who are you", "What are you?", "Are you a robot?", "are you human?")
            + ("What is your name?", "Which model are you?", "Tell me about yourself.")
            + ("Who made you?", "Are you ChatGPT?"),
        ),
        (
            _HELP,
            ("Help", "help", "What can you do?", "what can you do", "How can you help me?")
            + ("What can I ask you?", "What do you know?", "How does this work?", "?")
            + ("What should I ask?", "I need help."),
        ),
        (
            _WELCOME,
            ("Thanks", "thanks!", "Thank you", "Thank you!", "thx", "Great, thanks.", "Cool")
            + ("Good answer.", "That helped.", "ok thanks"),
        ),
        (_BYE, ("Bye", "bye", "Goodbye", "See you", "Good night", "That is all.")),
        (
            _ELSE,
            ("What is the weather like?", "Tell me a joke.", "What is the capital of France?")
            + ("How old are you?", "Who won the match?", "Write a poem.", "What is 2 + 2?")
            + ("Can you cook?", "Translate this to German.", "What time is it?", "I am bored.")
            + ("Do you like music?", "Write me a program.", "What is love?", "How are you?"),
        ),
    )
    for said in sayings
)
