"""Renders templates/*.jinja with transformers over conversations.json and writes expected/*.json.

    pip install transformers==5.23.0 jinja2==3.1.6
    python generate.py

The templates are written for these tests, each in the manner of a published model family: the same constructs and the
same control flow, with words of our own. conversations.json is written by this script too, from CONVERSATIONS below.

Expected of each template and conversation is one of
    {"text": ...}      what apply_chat_template gives,
    {"refused": ...}   the words of raise_exception,
    {"failed": ...}    the name of any other exception.
The clock stands at NOW in UTC.
"""
import datetime
import json
import pathlib

import jinja2
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

HERE = pathlib.Path(__file__).parent
NOW = 1_772_539_384  # 2026-03-03 12:03:04

SPECIAL_TOKENS = {
    "default": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "llama3": {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
    "llama4": {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot|>"},
    "qwen": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    "deepseek": {"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>"},
    "gemma": {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"},
    "phi": {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
    "command": {"bos_token": "<BOS_TOKEN>", "eos_token": "<|END_OF_TURN_TOKEN|>"},
    "ernie": {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<|begin_of_sentence|>"},
    "gpt-oss": {"bos_token": "<|startoftext|>", "eos_token": "<|return|>"},
    "glm": {"eos_token": "<|endoftext|>"},
    "functionary": {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
}

ODD = "It's \"quoted\" <b>&amp;</b> \\ / 100% {{ x }} {% y %} {# z #} 'one'"
UNICODE = "naïve – 你好，世界 🙂👩‍👩‍👧 \u00a0\u2028\u200b é ﬁ İ ß \t\x07\x7f \U0001F1E9\U0001F1EA العربية"

TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "The weather of a <place> & \"more\": it's é.",
        "parameters": {"type": "object", "properties": {
            "city": {"type": "string", "description": "Name of the city"},
            "unit": {"type": "string", "enum": ["°C", "°F"], "default": "°C", "description": "Unit."},
            "days": {"type": ["integer", "null"], "description": "How many days", "minimum": 1, "maximum": 14},
        }, "required": ["city"]}}},
    {"type": "function", "function": {
        "name": "plan", "description": "Makes a plan.",
        "parameters": {"type": "object", "properties": {
            "steps": {"type": "array", "description": "The steps", "items": {
                "type": "object", "properties": {"do": {"type": "string"}, "cost": {"type": "number", "default": 0.5}},
                "required": ["do"]}},
            "names": {"type": "array", "items": {"type": "string"}, "description": "Names"},
            "any": {"type": "array", "description": "Whatever"},
            "flags": {"type": "object", "additionalProperties": {"type": "boolean"}, "description": "Flags "},
            "when": {"oneOf": [{"type": "string", "format": "date"}, {"type": "integer", "default": 1e-7}], "description": "When"},
            "dry": {"type": "boolean", "default": True, "nullable": True, "description": "Not really", "examples": [True, {"a": 'b"c'}]},
        }, "required": []}, "return": {"type": "string", "description": "The plan"}}},
    {"type": "function", "function": {"name": "now", "description": "The time", "parameters": {"type": "object", "properties": {}}}},
]
SMALL_TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "The weather", "parameters": {"type": "object", "properties": {
            "city": {"type": "string", "description": "Name of the city"}, "days": {"type": "integer", "description": "How many"},
            "hours": {"type": "array", "items": {"type": "number"}, "description": "Of the day"}}, "required": ["city"]}}},
    {"type": "function", "function": {"name": "now", "description": "The time", "parameters": {"type": "object", "properties": {}}}},
]


def call(name, arguments, id):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def system(content):
    return {"role": "system", "content": content}


ARGUMENTS = {"city": "Zürich \"ZH\"", "days": 2, "t": 1.5, "big": 1e22, "tiny": 1e-7, "whole": 3.0, "ok": True, "none": None,
             "list": [1, "a'b", {"x": []}, [None, False]], "empty": {}, "text": "a\nb\t<\\>"}
DOCUMENTS = [{"title": "Whales", "text": "They are big & wet.", "doc_id": 7}, {"title": "Ängste", "text": "\"None\"\n", "snippet": "x"}]

# Templates that are for conversations of one kind get what that kind has.
ALWAYS = {"hermes3": {"tools": SMALL_TOOLS}, "tool_use": {"tools": SMALL_TOOLS}, "rag": {"documents": DOCUMENTS}}

# name: (messages, further arguments)
CONVERSATIONS = {
    "user": ([user("Hi")], {}),
    "user with prompt": ([user("  What is 2 + 2?\n")], {"add_generation_prompt": True}),
    "system and turns": ([system(" Be brief.\n"), user("Hi"), assistant("Hello! "), user(ODD)], {"add_generation_prompt": True}),
    "turns that are over": ([user(UNICODE), assistant(ODD), user("And?"), assistant(UNICODE)], {}),
    "empty contents": ([user(""), assistant(""), user(" \n\t ")], {"add_generation_prompt": True}),
    "tools": ([user("Weather in Paris?")], {"tools": TOOLS, "add_generation_prompt": True}),
    "tools with a system message": ([system("Call tools."), user("Weather?")], {"tools": TOOLS, "date_string": "1 Jan 2030"}),
    "a call and its result": ([
        system("You help."), user("Weather?"), assistant(None, tool_calls=[call("get_weather", {"city": "Paris", "unit": "°C"}, "abcdefghi")]),
        {"role": "tool", "tool_call_id": "abcdefghi", "name": "get_weather", "content": "{\"t\": 20.5}"}, assistant("20.5 °C."), user("Thanks")],
        {"tools": SMALL_TOOLS, "add_generation_prompt": True}),
    "two calls": ([
        user("Plan."), assistant("I will. ", tool_calls=[call("plan", ARGUMENTS, "call_1234"), call("now", {}, "call_5678")]),
        {"role": "tool", "tool_call_id": "call_1234", "content": "ok"}, {"role": "tool", "tool_call_id": "call_5678", "content": "12:00"}],
        {"tools": SMALL_TOOLS, "add_generation_prompt": True}),
    "arguments as text": ([
        user("Weather?"), assistant("", tool_calls=[call("get_weather", "{\"city\": \"Paris\"}", "call_1234")]),
        {"role": "tool", "tool_call_id": "call_1234", "content": {"temperature": 20, "wind": [1.0, None, "N'E"]}}], {}),
    "a call of a builtin tool": ([
        user("Find it"), assistant("", tool_calls=[call("brave_search", {"query": "it's <it>"}, "call_1234")]),
        {"role": "ipython", "content": [{"title": "It", "rank": 1}]}],
        {"builtin_tools": ["brave_search", "code_interpreter", "python"], "add_generation_prompt": True}),
    "parts": ([
        user([{"type": "text", "text": " What is this? "}, {"type": "image"}, {"type": "text", "text": "And that?"}]),
        assistant([{"type": "text", "text": "A cat."}]), user("Sure?")], {"add_generation_prompt": True}),
    "reasoning": ([
        user("2+2?"), assistant("4", reasoning_content="two and\ntwo\n"), user("3+3?"), assistant("6", reasoning_content="Hm.")],
        {"enable_thinking": True, "thinking": True}),
    "reasoning in the text": ([
        user("2+2?"), assistant("<think>\nlet me see\n</think>\n\n4"), user("3+3?"), assistant("<think>x</think>6"), user("4+4?")],
        {"add_generation_prompt": True, "thinking": True}),
    "no thinking": ([system("Be brief. /no_think"), user("2+2?"), assistant("4"), user("3+3?")],
                    {"add_generation_prompt": True, "enable_thinking": False, "thinking": False, "no_think": True}),
    "documents": ([user("How big are whales?")], {"documents": DOCUMENTS, "add_generation_prompt": True, "controls": {"citations": True, "length": "long"}}),
    "variables": ([user("Hi"), assistant("Yes?"), user("Hm")], {
        "add_generation_prompt": True, "date_string": "26 Jul 2024", "tools_in_user_message": False, "custom_tools": SMALL_TOOLS,
        "reasoning_effort": "high", "model_identity": "You are M.", "citation_mode": "accurate", "python_tools": ["def f(): ...", 1.0],
        "builtin_tools": ["browser", "python"], "default_system_message": "Default.", "bos_token": "<other>"}),
    "two users": ([user("a"), user("b")], {"add_generation_prompt": True}),
    "the assistant begins": ([assistant("Hi"), user("Hello")], {}),
    "an unknown role": ([user("a"), {"role": "wizard", "content": "abracadabra"}], {}),
    "a system message in the middle": ([user("a"), assistant("b"), system("c"), user("d")], {}),
    "a system message alone": ([system("Nobody asks.")], {"add_generation_prompt": True}),
    "content that is a number": ([user(5)], {}),
    "no content": ([{"role": "user"}, {"role": "assistant", "content": None, "tool_calls": []}], {}),
    "continued": ([user("Say a long word"), assistant("Donau")], {"continue_final_message": True}),
    "continued with space": ([user("Count"), assistant("one, two, ")], {"continue_final_message": True}),
    "continued parts": ([user("Count"), assistant([{"type": "text", "text": "one,"}])], {"continue_final_message": True}),
}


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(NOW, datetime.timezone.utc).replace(tzinfo=None)


def special_tokens(name):
    return next((tokens for family, tokens in SPECIAL_TOKENS.items() if name.startswith(family)), SPECIAL_TOKENS["default"])


def render(tokenizer, template, messages, arguments):
    try:
        text = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, **arguments)
    except jinja2.exceptions.TemplateError as error:
        if type(error) is jinja2.exceptions.TemplateError:
            return {"refused": str(error)}
        return {"failed": type(error).__name__}
    except Exception as error:
        return {"failed": type(error).__name__}
    return {"text": text}


def lines(items, dump):
    """An object with one line for each key."""
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {dump(value)}" for key, value in items) + "\n}\n"


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def main():
    chat_template_utils.datetime = Clock
    conversations = {name: {"messages": messages, **more} for name, (messages, more) in CONVERSATIONS.items()}
    (HERE / "conversations.json").write_text(lines(conversations.items(), compact), encoding="utf-8")
    expected = HERE / "expected"
    expected.mkdir(exist_ok=True)
    for old in expected.glob("*.json"):
        old.unlink()
    for path in sorted((HERE / "templates").glob("*.jinja")):
        template = path.read_text(encoding="utf-8")
        tokens = special_tokens(path.stem)
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), **tokens)
        always = ALWAYS.get(path.stem.rpartition(".")[2], {})
        out = {"special_tokens": tokens, "always": always}
        for name, (messages, more) in CONVERSATIONS.items():
            out[name] = render(tokenizer, template, messages, {**always, **more})
        assert any("text" in value for value in out.values()), path
        (expected / f"{path.stem}.json").write_text(lines(out.items(), compact), encoding="utf-8")
        print(path.stem, *[f"{kind} {sum(kind in value for value in out.values())}" for kind in ("text", "refused", "failed")])


if __name__ == "__main__":
    main()
