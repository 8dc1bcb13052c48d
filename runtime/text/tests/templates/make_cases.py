"""Renders templates with transformers and jinja2 and writes what they give to cases.json beside this file.

    pip install transformers==5.23.0 jinja2==3.1.6
    python make_cases.py

Each case is a template, the input, and either `text` or `error`: "refused" (raise_exception), "failed" (anything else).
"""
import itertools
import json
import pathlib

import jinja2
from transformers.utils.chat_template_utils import render_jinja_template

CONVERSATIONS = {
    "user": [{"role": "user", "content": "Hi"}],
    "turns": [
        {"role": "system", "content": "  Be brief.\n"},
        {"role": "user", "content": "It's \"1 < 2 & 3 > 2\"?"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes. 你好 🙂"},
        {"role": "user", "content": ""},
    ],
    "parts": [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c", "reasoning_content": "why"},
    ],
    "tools": [
        {"role": "user", "content": "Weather in Paris?"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "type": "function", "function": {
            "name": "weather", "arguments": {"city": "Paris", "days": 2, "t": 1.5, "ok": True, "none": None,
                                             "list": [1, "a'b", {"x": []}], "empty": {}}}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "{\"rain\": 0.5}"},
    ],
}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "It's <the> weather & \"more\" é", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}, "items": {"type": "array"}},
    "required": ["city"]}}}]
VARIABLES = {"bos_token": "<s>", "eos_token": "</s>", "enable_thinking": False, "name": "mscc", "count": 3,
             "half": 0.5, "big": 1e20, "tiny": 1e-7, "words": ["b", "A", "c"], "nothing": None,
             "table": {"b": 1, "A": 2, "items": 3}}

# Whole templates, in the manner of those of public models.
WHOLE = [
    # ChatML with tools, reasoning and a generation block
    """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- "# Tools\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<r>') and message.content.endswith('</r>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- generation -%}
        {{- '<|im_start|>' + message.role }}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning_content) %}
            {{- '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '\\n' + content }}
        {%- endif %}
        {%- endgeneration -%}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}{{- '\\n' }}{%- endif %}
                {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
                {{- '<tool_call>\\n{"name": "' }}
                {{- tool_call.name }}
                {{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}{{- tool_call.arguments }}{%- else %}{{- tool_call.arguments | tojson }}{%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<r>\\n' + content + '\\n</r>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}""",
    # Headers with a date, tools in the first user message
    """{{- bos_token }}
{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}
{%- if not tools_in_user_message is defined %}{%- set tools_in_user_message = true %}{%- endif %}
{%- if not date_string is defined %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if builtin_tools is defined or tools is not none %}{{- "Environment: ipython\\n" }}{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}{{- "<|eot_id|>" }}
{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("Cannot put tools in the first user message when there's no first user message!") }}
    {%- endif %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\n' -}}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\\n\\n" }}{%- endfor %}
    {{- first_user_message + "<|eot_id|>"}}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}{{- raise_exception("one tool-call at once!") }}{%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '{"name": "' + tool_call.name + '", "parameters": ' }}{{- tool_call.arguments | tojson }}{{- "}" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}{%- else %}{{- message.content }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}""",
    # Alternation enforced, parts, macros
    """{%- macro text_of(content) -%}
{%- if content is string -%}{{ content | trim }}
{%- elif content is iterable -%}
{%- for item in content -%}{%- if item['type'] == 'image' -%}<img>{%- elif item.type == 'text' -%}{{ item['text'] | trim }}{%- endif -%}{%- endfor -%}
{%- else -%}{{ raise_exception("Invalid content type") }}{%- endif -%}
{%- endmacro -%}
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}{%- set first = text_of(messages[0].content) + '\\n\\n' -%}{%- set loop_messages = messages[1:] -%}
{%- else -%}{%- set first = "" -%}{%- set loop_messages = messages -%}{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {{ '<start_of_turn>' + ("model" if message.role == 'assistant' else message.role) + '\\n' + (first if loop.first else "") }}
    {{- text_of(message.content) }}{{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}""",
    # Types out of a schema, recursive macros
    """{%- macro type_of(spec) -%}
    {%- if spec.type == "array" -%}{{ type_of(spec['items']) if 'items' in spec else "any" }}[]
    {%- elif spec.enum -%}"{{ spec.enum | join('" | "') }}"
    {%- elif spec.type is iterable and spec.type is not string -%}{{ spec.type | join(" | ") }}
    {%- elif spec.type == "object" -%}{
        {%- for name, prop in spec.properties.items() -%}
            {{ name }}{% if name not in (spec.required or []) %}?{% endif %}: {{ type_of(prop) }}{% if not loop.last %}, {% endif %}
        {%- endfor -%}}
    {%- else -%}{{ spec.type | default('any', true) }}{%- endif -%}
{%- endmacro -%}
{%- for tool in tools or [] %}
type {{ tool.function.name }} = (_: {{ type_of(tool.function.parameters) }}) => any; // {{ tool.function.description }}
{% endfor %}
{% for message in messages %}
    {% if message.tool_calls is defined %}
        {% for call in message.tool_calls %}
{{ call.function.name }}{% for key, value in call.function.arguments.items() %} {{ key }}={{ value | tojson if value is mapping or value is sequence and value is not string else value | string }}{% endfor %}

        {% endfor %}
    {% else %}
{{ loop.index }}/{{ loop.length }} {{ message.role | upper }}: {{ message.content if message.content else '(empty)' }}
    {% endif %}
{% endfor %}""",
]

# One behaviour each; rendered with the conversation "turns".
SNIPPETS = r"""
{{ messages[0] }}
{{ messages[0].content | tojson }} {{ table | tojson }} {{ words | tojson(indent=2) }} {{ [] | tojson(indent=2) }} {{ {} | tojson(indent=2) }}
{{ table | tojson(separators=(',', ':')) }} {{ table | tojson(sort_keys=true) }} {{ '你é' | tojson(ensure_ascii=true) }} {{ '🙂\x7f\x00' | tojson(ensure_ascii=True) }}
{{ [1.0, 1e20, 0.00001, true, none, -3] | tojson }} {{ {1: 2, none: 3, true: 4} | tojson }}
{{ {'a': {'b': [1, [2, {}]]}} | tojson(indent=4) }} {{ {'a': [1]} | tojson(indent=2, separators=(',', ':')) }} {{ [1, 2] | tojson(indent='\t') }}
{{ undefined_thing | tojson }}
{{ undefined_thing }}|{{ undefined_thing | default('d') }}|{{ nothing | default('d') }}|{{ nothing | default('d', true) }}|{{ undefined_thing is defined }}
{{ undefined_thing.attribute }}
{{ undefined_thing + 'x' }}
{{ undefined_thing ~ 'x' }}
{{ 'x' ~ 1 ~ 1.5 ~ none ~ true ~ [1, 'a'] ~ {'k': 'v'} }}
{{ 'x' + 1 }}
{% for x in undefined_thing %}{{ x }}{% else %}none{% endfor %}
{{ undefined_thing | length }} {{ undefined_thing | string | length }} {{ undefined_thing | trim }}. {{ undefined_thing | list }}
{{ 'a' in undefined_thing }} {{ not undefined_thing }} {{ undefined_thing == none }} {{ undefined_thing is none }} {{ undefined_thing or 'x' }}
{{ messages[0].missing }}|{{ messages[0]['missing'] is defined }}|{{ messages[99] is defined }}|{{ messages[99] }}
{{ messages[0].missing.deep }}
{{ messages[0].get('missing') }} {{ messages[0].get('missing', 'd') }} {{ messages[0].get('role') }} {{ 'role' in messages[0] }}
{{ table.items() | list }} {{ table.keys() | list }} {{ table.values() | list }} {{ table | items | list }}
{{ table | dictsort }} {{ table | dictsort(by='value', reverse=true) }} {{ table | list }} {{ table | length }}
{{ table['items'] }} {% for k, v in table.items() %}{{ k }}={{ v }};{% endfor %}
{{ true }} {{ false }} {{ none }} {{ True }} {{ False }} {{ None }} {{ 1 }} {{ 1.0 }} {{ half }} {{ big }} {{ tiny }} {{ 1e16 }} {{ 7 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 6 / 3 }}
{{ [1, 'a', "it's", 'q"q', none, true, 1.5, {'k': [()]}] }} {{ (1,) }} {{ (1, 2) }} {{ () }}
{{ 'a\nb\t\\' }}|{{ ['a\nb\t\\'] }}|{{ "\u00e9\x41" }}
{{ words | join(', ') }} {{ words | join }} {{ [1, none, true, 1.5] | join('-') }} {{ messages | map(attribute='role') | join(',') }} {{ messages | join('|', attribute='role') }}
{{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ words | sort(reverse=true) | first }} {{ words | last }} {{ words | reverse | list }} {{ 'abc' | reverse }}
{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | rejectattr('role', '==', 'user') | map(attribute='role') | list }} {{ messages | selectattr('content') | list | length }}
{{ words | map('upper') | list }} {{ words | select('equalto', 'A') | list }} {{ [1, 2, 3, 4] | select('odd') | list }} {{ words | unique | list }}
{{ [3, 1, 2] | max }} {{ [3, 1, 2] | min }} {{ [3, 1, 2] | sum }} {{ messages | map(attribute='content') | map('length') | sum }}
{{ messages | groupby('role') | map(attribute='grouper') | list }} {% for role, items in messages | groupby('role') %}{{ role }}{{ items | length }}{% endfor %}
{{ [1, 2, 3, 4, 5] | batch(2) | list }} {{ [1, 2, 3, 4, 5] | slice(2) | list }}
{{ 'Hello World' | upper }} {{ 'Hello' | lower }} {{ 'hello world-foo' | title }} {{ 'HELLO' | capitalize }} {{ 'a b' | replace(' ', '_') }} {{ ' a ' | trim }} {{ 'xxaxx' | trim('x') }} {{ 'a b c' | wordcount }}
{{ 'Hello'.upper() }} {{ 'Hello'.lower() }} {{ 'hello world'.title() }} {{ 'hELLO'.capitalize() }} {{ 'a b'.replace(' ', '_') }} {{ 'aaa'.replace('a', 'b', 2) }} {{ 'Hello'.swapcase() }}
{{ ' a '.strip() }}|{{ ' a '.lstrip() }}|{{ ' a '.rstrip() }}|{{ 'xyax'.strip('xy') }}|{{ 'a\n\n'.rstrip('\n') }}|{{ '\x1c\u00a0a\u3000'.strip() }}|
{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a b c'.split(none, 1) }} {{ 'a,b,c'.split(',', maxsplit=1) }} {{ 'a b '.split(' ') }} {{ ''.split() }} {{ ''.split(',') }}
{{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b c '.rsplit(none, 1) }} {{ ' a b  c '.split(none, 1) }} {{ 'abc'.rsplit('x') }}
{{ 'a\nb\r\nc\x0bd'.splitlines() }} {{ 'a\nb\r\n'.splitlines(true) }} {{ 'a\nb'.splitlines(keepends=True) }}
{{ 'hello'.startswith('he') }} {{ 'hello'.endswith(('x', 'lo')) }} {{ 'hello'.find('l') }} {{ 'hello'.rfind('l') }} {{ 'hello'.find('z') }} {{ 'hello'.index('l') }} {{ 'hello'.count('l') }}
{{ 'hello'.removeprefix('he') }} {{ 'hello'.removesuffix('lo') }} {{ 'k=v=w'.partition('=') }} {{ 'k=v=w'.rpartition('=') }} {{ 'kv'.partition('=') }}
{{ '7'.zfill(3) }} {{ '-7'.zfill(4) }} {{ 'a'.ljust(3) }}| {{ 'a'.rjust(3, '.') }} {{ 'ab'.center(5, '*') }} {{ 'a'.center(4, '*') }}
{{ '12'.isdigit() }} {{ 'ab'.isalpha() }} {{ 'a1'.isalnum() }} {{ 'AB'.isupper() }} {{ 'ab'.islower() }} {{ ' '.isspace() }} {{ ''.isdigit() }}
{{ ', '.join(words) }} {{ '-'.join('abc') }} {{ ','.join([]) }}
{{ ','.join([1]) }}
{{ '{} and {}'.format(1, 'b') }} {{ '{0}{1}{0}'.format('a', 'b') }} {{ '{x:>4}'.format(x='r') }} {{ '%s-%d' | format('a', 3) }}
{{ '%s %s' % ('a', 1) }} {{ '%05.2f' % 3.14159 }}
{{ 'abcdef'[1:3] }} {{ 'abcdef'[-2:] }} {{ 'abcdef'[::-1] }} {{ 'abcdef'[0] }} {{ words[1:] }} {{ words[:-1] }} {{ words[::-1] }} {{ words[-1] }} {{ '你好'[1] }}
{{ 'abc' * 2 }} {{ [1] * 3 }} {{ [1] + [2] }} {{ 'ab' in 'cabd' }} {{ 1 in [1, 2] }} {{ 'k' in {'k': 1} }} {{ 3 not in [1] }}
{{ 1 if true }} {{ 1 if false }}| {{ 'a' if words else 'b' }} {{ 1 < 2 < 3 }} {{ 1 == 1.0 }} {{ 'a' < 'b' }} {{ true and 'x' }} {{ '' or 'y' }} {{ not '' }} {{ true == 1 }}
{{ 'a' is string }} {{ 1 is number }} {{ 1 is integer }} {{ 1.0 is float }} {{ true is boolean }} {{ none is none }} {{ [] is iterable }} {{ 'a' is iterable }} {{ {} is mapping }} {{ [] is sequence }} {{ 'a' is sequence }} {{ {} is sequence }} {{ 1 is iterable }} {{ [] is mapping }} {{ true is number }} {{ true is integer }}
{{ 1 is odd }} {{ 2 is even }} {{ 9 is divisibleby 3 }} {{ 'a' is eq 'a' }} {{ 1 is lt 2 }} {{ 1 is in [1] }} {{ 'A' is upper }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ raise_exception is callable }} {{ 'x' is sameas 'x' }} {{ none is defined }} {{ x is not defined }}
{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + 1 %}{% endfor %}{{ x }}
{% set ns = namespace(a=1, b=[]) %}{% for i in [1, 2] %}{% set ns.a = ns.a + i %}{% set ns.b = ns.b + [i] %}{% endfor %}{{ ns.a }} {{ ns.b }}
{% set x %}a {{ name }}{% endset %}{{ x | upper }}{% set a, b = 1, 2 %}{{ a }}{{ b }}
{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for i in range(1, 10, 3) %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.revindex }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}
{% for m in messages if m.role == 'user' %}{{ loop.index }}{{ m.role }}{% else %}no{% endfor %}{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }}{% endfor %}
{% for i in [1, 2, 3] %}{{ loop.cycle('a', 'b') }}{{ loop.changed(i > 1) }}{% endfor %}
{% for x in [[1, [2]], [3]] recursive %}{% if x is iterable %}[{{ loop(x) }}]{% else %}{{ x }}{% endif %}{% endfor %}
{% macro m(a, b='B', c=none) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, c=2) }} {{ m('x', b='y') }}
{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, k=3) }}
{% macro wrap(tag) %}<{{ tag }}>{{ caller() }}</{{ tag }}>{% endmacro %}{% call wrap('b') %}in{% endcall %}
{% filter upper %}a{{ name }}{% endfilter %}{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}
{% raw %}{{ x }}{% generation %}{% endraw %}{# comment {{ x }} #}{{ '{% generation %}' }}
{% generation %}{% set inner = 1 %}g{{ inner }}{% endgeneration %}{{ inner is defined }}
a  {% if true %}  b  {% endif %}  c
a {%- if true -%} b {%- endif +%} c
  {{ 1 }}  {{- 2 -}}  3
{{ raise_exception('no: ' + name) }}
{{ raise_exception('a', 'b') }}
{{ dict(a=1, b=2) }} {{ dict(a=1).a }} {{ {'a': 1}.a }} {{ {'a': 1}['a'] }}
{{ [1, 2].append(3) }}
{{ table.update({'x': 1}) }}
{{ table.pop('b') }}
{{ words.index('A') }} {{ words.count('A') }} {{ table.copy() == table }}
{{ name.__class__ }}
{{ name.nosuch() }}
{{ nosuch() }}
{{ name | nosuch }}
{{ none | trim }}|{{ 1 | string + 'x' }}|{{ 1.5 | int }}|{{ '3' | int + 1 }}|{{ 'x' | int(7) }}|{{ '2.5' | float }}|{{ 3.7 | round }}|{{ 3.14159 | round(2) }}|{{ -3 | abs }}|{{ [1] | string }}
{{ 'a<b' | e }} {{ 'a<b' | escape }} {{ '<' | safe }} {{ name | length }} {{ 'a b' | urlencode }} {{ 'x' | indent }} {{ 'a\nb' | indent(2) }} {{ 'a\nb' | indent(2, true) }}
{{ messages | length }} {{ messages[-1].role }} {{ messages[0]['content'] | trim | length }} {{ loop is defined }} {{ tools }} {{ documents }} {{ add_generation_prompt }}
{{ 'abc' | first }} {{ 'abc' | last }} {{ [] | first }}| {{ 'abc' | list }} {{ range(3) | list }}
{{ cycler is defined }} {{ joiner is defined }} {{ lipsum is defined }} {{ self is defined }}
{{ namespace is defined }} {{ range is defined }}
{{ 1_000 }} {{ 0x10 }} {{ 'con' 'cat' }} {{ "a" if 1 else "b" }} {{ -1 | abs }} {{ not true or true }} {{ 2 + 3 * 4 }} {{ (1, 2)[0] }} {{ [1, [2, 3]][1][0] }}
{{ 'x' if nothing is none else 'y' }} {{ nothing }} {{ nothing is defined }} {{ nothing == None }} {{ (nothing or {}).get('k', 'v') }}
{{ table.b }} {{ table['A'] }} {{ table.nosuch is undefined }} {{ table == {'b': 1, 'A': 2, 'items': 3} }}
{%- set a = [] -%}{%- for m in messages -%}{%- set a = a + [m.role] -%}{%- endfor -%}{{ a }}
{{ "%.3f" | format(2.5) }} {{ "%5s|%-5s|" | format("a", "b") }} {{ "{:.2f}".format(1.005) }} {{ "{:,}".format(1234567) }}
{{ "{!r}".format('a') }}
{% if messages is defined and messages is not none and messages | length > 0 %}ok{% endif %}{% if 'x' is not in words %}ok{% endif %}
{{ messages[0].role.upper().lower().title()[0:2] + "!" * 3 }}
{% do 1 %}
{% include 'x' %}
{% if %}
{{ 'unterminated }}
{{ messages | tojson | length }} {{ messages[1].content | tojson }}
{{ strftime_now('%Y') | length }} {{ strftime_now is defined }}
{{ [1, 2, 3] == [1, 2, 3] }} {{ [1, 2] < [1, 3] }} {{ 'a' == 1 }} {{ none == false }} {{ [] == () }} {{ 0 == false }} {{ 1 != 1.0 }}
{{ 1 / 0 }}
{{ table | attr('b') }}
{{ messages[0]['items'] is defined }} {{ table.items is mapping }}
{{ words.nosuch }}|{{ words['nosuch'] }}|{{ name[99] }}|{{ name.nosuch }}|{{ 1 .nosuch }}
{{ words | map(attribute='x') | list }} {{ words | map('nosuch') | list }}
{{ messages | map(attribute='nosuch', default='d') | list }} {{ [table] | map(attribute='b') | list }} {{ [[1, 2]] | map('first') | list }}
{{ words | tojson(indent=none) }} {{ words | tojson(2) }} {{ (1, 2) | tojson }} {{ range(2) | list | tojson }} {{ table.items() | list | tojson }}
{{ table.items() | tojson }}
{{ 'a' | default('b') | upper }} {{ '' | default('b', true) }} {{ '' | d('b', boolean=true) }} {{ false | default('b') }}
{{ 10 // 3 }} {{ 10 % 3 }} {{ 10.0 // 3 }} {{ -10 // 3 }} {{ 1.5 + 1 }} {{ 0.1 + 0.2 }} {{ 1e3 }} {{ 5 | float }} {{ 100000000000000000000 }} {{ 9223372036854775807 + 1 }}
{{ 'é'.encode('utf-8') }}
{{ 'İ'.lower() | length }} {{ 'ß'.upper() }} {{ 'ﬁ'.upper() }} {{ 'ΑΣ'.lower() }} {{ "they're bill's".title() }} {{ 'x1y' | title }}
{{ none is iterable }} {{ none is sequence }} {{ none is mapping }} {{ true is iterable }} {{ nosuch is iterable }} {{ nosuch is sequence }}
{% for x in none %}{{ x }}{% endfor %}
{% for x in 5 %}{{ x }}{% endfor %}
{{ none | length }}
{{ 5 | length }}
{{ none | list }}
{{ none | join(',') }}
{{ none | first }}
{{ 'a' in none }}
{{ 'a' in 5 }}
{{ none.attribute is defined }} {{ none['x'] is defined }} {{ 5 .x is defined }} {{ none.a }}
{{ none.items() }}
{{ none + 'x' }}
{{ 'x' + none }}
{{ none ~ 'x' }} {{ true + 1 }} {{ true * 3 }} {{ 'ab' * true }} {{ 'ab' * false }} {{ [1] * 0 }} {{ 'x' * -1 }}
{{ 'a\nb' | indent }}|{{ 'a\n\nb\n' | indent(2) }}|{{ 'a\n\nb\n' | indent(2, true, true) }}|{{ '\na' | indent(first=true) }}|{{ 'a\r\nb' | indent('> ') }}|{{ 'a\nb' | indent(width=1, blank=true) }}
{{ 5 | indent }}
{{ nosuch | indent }}
{{ table['items'] }} {{ table['keys'] is defined }} {{ table.keys is callable }} {{ table.keys()|list }} {{ table['get']('b') }} {{ table['values']() | sum }}
{{ {'items': 1}.items is callable }} {{ {'items': 1}['items'] }} {% set d = {'a': 1} %}{{ d['items'] is mapping }} {{ d.items is iterable }} {{ 'items' in d }} {{ d['items']['x'] is defined }}
{% for item in [table]['items'] %}{% endfor %}{{ words['items'] is defined }}|{{ name.items is defined }}|{{ nothing['items'] is defined }}
{{ nosuch['items'] is defined }}
{{ nosuch.items is defined }}
{% set ns = namespace(items=1) %}{{ ns.items }} {% set ns.items = 2 %}{{ ns.items + ns.items }} {{ ns['items'] is defined }}
{% for items in [['a', 1]] %}{{ items }}{{ items[0] }}{% endfor %} {{ dict(items=3)['items'] }} {{ dict([('a', 1)], b=2) }} {{ dict({'a': 1}, b=3) }}
{{ table | items | list }} {{ nosuch | items | list }} {{ {} | items | list }}
{{ words | items | list }}
{{ [1, 2, 3, 4, 5] | batch(2, 'x') | list }} {{ [1, 2, 3, 4, 5] | slice(3, 'x') | list }} {{ words | batch(2) | map('join', '-') | list }}
{{ [1, 2, 3] | sum }} {{ [table, table] | sum(attribute='b') }} {{ [1.5, 2] | sum(start=1) }} {{ [] | sum }} {{ [] | max }}|{{ ['b', 'A'] | max }} {{ ['b', 'A'] | min }} {{ messages | map(attribute='role') | max }}
{{ 2.5 | round }} {{ 3.5 | round }} {{ 2.567 | round(1) }} {{ 2.5 | round(0, 'floor') }} {{ 2.1 | round(method='ceil') }} {{ 12345 | round(-2) }} {{ 7 | round }} {{ -2.5 | round }}
{{ '12' | int }}
{{ '0x1A' | int(0, 16) }}
{{ '  7 ' | int }}
{{ '1e3' | int }}
{{ 'x' | int }}
{{ none | int }}
{{ true | int }}
{{ '1.5' | int }}
{{ 3.99 | int }}
{{ -3.99 | int }}
{{ 'x' | float }}
{{ '1e3' | float }}
{{ ' 1.5 ' | float }}
{{ none | float(2.0) }}
{{ 'hello world foo' | truncate(9) }}
{{ 'x' | center(5) }}|{{ 'ab' | center(5) }}|
{{ '<b>a</b> c' | striptags }}
{{ words | sort(reverse=true) }}
{{ messages | sort(attribute='role') | map(attribute='role') | list }}
{{ ['b', 'B', 'a'] | sort }}
{{ ['b', 'B', 'a'] | unique | list }}
{{ ['b', 'B', 'a'] | unique(true) | list }}
{{ [3, 1, 2] | sort }}
{{ [[2, 'a'], [1, 'b']] | sort }}
{{ table.items() | sort }}
{{ table | dictsort(true) }}
{{ [1.5, 1, 2] | sort }}
{{ [1, 'a'] | sort }}
{{ messages | groupby('role') | list | length }} {% for g in messages | groupby('role') %}{{ g.grouper }}:{{ g.list | length }};{% endfor %} {% for r, ms in messages | groupby(attribute='nosuch', default='none') %}{{ r }}{{ ms | length }}{% endfor %}
{{ messages | selectattr('role', 'in', ['user', 'system']) | map(attribute='role') | list }} {{ messages | rejectattr('nosuch') | list | length }} {{ messages | selectattr('content', 'string') | list | length }} {{ messages | selectattr('role', 'ne', 'user') | map(attribute='role') | unique | list }}
{{ [0, 1, '', 'a', none] | select | list }} {{ [0, 1, '', 'a', none] | reject | list }} {{ [1, 2, 3] | select('gt', 1) | list }} {{ ['a', 1] | reject('string') | list }} {{ [1, 2, 3, 4] | reject('divisibleby', 2) | list }}
{{ ['a b', 'c'] | map('replace', ' ', '_') | list }} {{ ['a', 'b'] | map('upper') | join }} {{ ['1', '2'] | map('int') | sum }} {{ [' a '] | map('trim') | list }} {{ words | map('length') | list }} {{ [{'a': {'b': 1}}] | map(attribute='a.b') | list }} {{ [[1, 2]] | map(attribute=0) | list }} {{ [['x']] | map(attribute='0') | list }}
{{ 'a' | list }}
{{ {'a': 1} | list }}
{{ (1, 2) | list }}
{{ 'abc' | reverse }}
{{ [1, 2] | reverse | list }}
{{ {'a': 1} | first }}
{{ range(3) | last }}
{{ range(3) | first }}
{{ (1, 2) | last }}
{{ range(4)[1:3] | list }}
{{ range(4)[-1] }}
{{ range(3) }}
{{ range(1, 7, 2) | list }}
{{ range(3, 0, -1) | list }}
{{ 'Hello' | upper | lower | capitalize }} {{ 'hello wORLD' | capitalize }} {{ "it's a dog's" | title }} {{ 'a-b c_d e(f' | title }} {{ 'ÄÖ straße' | upper }} {{ 5 | upper }} {{ none | upper }} {{ true | lower }} {{ 1.5 | string }} {{ [1] | upper }}
{{ 'aXbX' | replace('X', '-') }} {{ 'aXbX' | replace('X', '-', 1) }} {{ 5 | replace('5', 'x') }} {{ 'aaa' | replace('', '-') }} {{ 'abc'.replace('', '-', 2) }} {{ 'abc' | replace('b', 1) }}
{{ '  a b  ' | trim }}|{{ 'xyax' | trim('xy') }}|{{ 5 | trim }}|{{ '\n a \t' | trim }}|{{ nosuch | trim }}|
{{ 'a' | default }}|{{ nosuch | default }}|{{ nosuch | default(none) }}|{{ none | default('x', true) }}|{{ '' | default(5, boolean=true) }}|{{ nosuch | default(nosuch2) }}|{{ table.nosuch | default('d') }}|{{ 0 | d('x') }}
{{ nosuch.deep | default('d') }}
{{ '%s' | format('a') }}
{{ '%d%%' | format(5) }}
{{ '%05d|%x|%e|%g' | format(42, 255, 12345.678, 0.0001) }}
{{ '%(a)s' | format(a=1) }}
{{ '%r' | format('x') }}
{{ '%.2f' | format(1) }}
{{ '%s %s' | format(none, [1, 'a']) }}
{{ '{}'.format(1.5) }} {{ '{0} {1}'.format('a', 2) }} {{ '{:>5}|{:<5}|{:^5}'.format('a', 'b', 'c') }} {{ '{:05.1f}'.format(3.14159) }} {{ '{a}'.format(a=none) }} {{ '{:,}'.format(1234567.891) }} {{ '{:%}'.format(0.25) }} {{ '{{}}'.format() }} {{ '{[0]}'.format([1]) }} {{ '{:x} {:b} {:o}'.format(255, 5, 8) }}
{{ 'abc'.find('c') }} {{ 'abc'.find('a', 1) }} {{ 'abcabc'.rfind('b') }} {{ 'abcabc'.count('bc') }} {{ 'abc'.startswith('b', 1) }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('') }} {{ '你好世界'.find('世') }}
{{ 'a\tb'.expandtabs(4) }}
{{ 'abc'.isascii() }}
{{ '1.5'.isnumeric() }}
{{ '²'.isdigit() }}
{{ 'abc'.islower() }}
{{ 'A'.isupper() }}
{{ '½'.isnumeric() }}
{{ ' \n'.isspace() }}
{{ 'a,b;c'.split(';') | map('upper') | join('+') }} {{ 'a  b'.split(' ') }} {{ 'abc'.split('') }}
{{ 'x=1&y=2'.split('&') | map('split', '=') | list }}
{{ 'one two'.split() | last }} {{ ('a' ~ 'b').upper() }} {{ 'a'.join(['1', '2']) }} {{ 'abc'[1] }} {{ 'abc'[-1:] }} {{ 'abc'[5:] }}| {{ 'abc'[:-1] }} {{ 'abc'[::2] }} {{ [1, 2, 3][::-1] }} {{ [1, 2, 3][1:][0] }} {{ 'abc'[0:2] | upper }} {{ messages[1:] | length }} {{ messages[-2:][0].role }}
{{ 'abc'[1.0] }}
{{ [1, 2]['0'] }}
{{ {'1': 'a'}[1] }}
{{ {1: 'a'}['1'] }}
{{ {1: 'a'}[1] }}
{{ {1: 'a'}[true] }}
{{ {1: 'a'}[1.0] }}
{{ {'a': 1, 'b': {'c': [1, 2, {'d': none}]}} }} {{ {1: 2, none: 3, true: 4, 1.5: 5, (1, 2): 6} }} {{ {'a': 1, 'a': 2} }} {{ {} }} {{ [] }} {{ [[]] }} {{ [''] }}
{{ {'a': 1} == {'a': 1.0} }} {{ [1, [2]] == [1, [2]] }} {{ (1, 2) == [1, 2] }} {{ 'a' < 'B' }} {{ [1, 2] < [1, 2, 3] }} {{ none == none }} {{ none != 1 }} {{ true == 1 }} {{ '1' == 1 }} {{ nosuch == nosuch2 }} {{ nosuch == '' }}
{{ 'a' < 1 }}
{{ none < 1 }}
{{ 1 < 2 == true }} {{ 1 in [1.0] }} {{ '1' in [1] }} {{ none in [none] }} {{ [1] in [[1]] }} {{ 'a' in {'a': 1} }} {{ 'b' not in 'abc' }} {{ '' in 'abc' }} {{ 2 in range(3) }}
{{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7.5 % 2 }} {{ 7 // 2.0 }} {{ -7 // 2 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ 2 ** 0.5 }} {{ 10 / 4 }} {{ 10 / 5 }} {{ 1e3 }} {{ 1.0e-5 }} {{ 123456789012345678 }} {{ 0.1 * 3 }} {{ 1.0 * 3 }} {{ 3 - 1.0 }} {{ 5 / 1 }} {{ 1_000 }} {{ 1.50 }} {{ -0.0 }} {{ 2 ** 63 }} {{ 2 ** 100 }}
{{ 1 if nosuch else 2 }} {{ (1 if true else 2) if false else 3 }} {{ 'a' if none is none and not false else 'b' }} {{ not none }} {{ not [] and not {} and not '' and not 0 }} {{ [] or {} or 'x' }} {{ 1 and 2 and 3 }} {{ 0 or none }} {{ (nosuch or 'd') | upper }}
{{ 'x' is not string }} {{ 1 is not none }} {{ (1, 2) is sequence }} {{ (1, 2) is iterable }} {{ 'a' is not mapping }} {{ 3 is ge(2) }} {{ 3 is greaterthan 2 }} {{ 'a' is lower }} {{ 4 is divisibleby(2) }} {{ [] is defined }} {{ 'a' in ['a'] and 'a' is defined }} {{ 1 is sameas 1 }} {{ none is sameas none }} {{ 'x' is filter }} {{ 'upper' is filter }} {{ 'odd' is test }} {{ 'a' is escaped }} {{ 1.0 is integer }} {{ 1 is float }} {{ '1' is number }} {{ false is number }} {{ 1 is boolean }}
{% set a %}  x {{ name }} {% endset %}[{{ a }}][{{ a | trim }}][{{ a is string }}][{{ a | length }}]{% set b | upper | trim %} y {% endset %}[{{ b }}]{% set c, d = [1, 2] %}{{ c + d }}{% set e = f = 1 %}
{% set ns = namespace(a=1, b=2) %}{{ ns.a }}{{ ns.b }} {{ ns.nosuch is defined }} {% set ns.c = [] %}{{ ns.c }}{% if true %}{% set ns.a = 5 %}{% set local = 1 %}{% endif %}{{ ns.a }}{{ local }}
{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}
{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}{% for i in [1] %}{% set x = 3 %}{{ x }}{% endfor %}{{ x }}{% macro m() %}{% set x = 4 %}{{ x }}{% endmacro %}{{ m() }}{{ x }}{% with %}{% set x = 5 %}{{ x }}{% endwith %}{{ x }}
{% set nosuch.a = 1 %}
{% set table.a = 1 %}
{% macro m(a, b='!') %}{{ a }}{{ b }}{% endmacro %}{{ m('x') }}{{ m('x', 'y') }}{{ m() }}|{{ m(b='z') }}|{{ m.name }} {{ m is callable }} {{ m('q') | upper }} {{ m('q') | length }} {% set r = m('w') %}{{ r is string }}{{ r + 'x' }}
{% macro m(a, b=a ~ '!') %}{{ a }}{{ b }}{% endmacro %}{{ m('x') }}
{% macro m(a) %}{% endmacro %}{{ m.arguments }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(nosuch=2) }}
{% macro fact(n) %}{{ n * (fact(n - 1) | int) if n > 1 else 1 }}{% endmacro %}{{ fact(5) }} {% macro outer() %}{% macro inner() %}i{% endmacro %}{{ inner() }}{{ name }}{% endmacro %}{{ outer() }}
{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}{% macro c() %}[{{ caller('a', 2) }}]{% endmacro %}{% call(x, y) c() %}{{ x }}{{ y }}{{ name }}{% endcall %}
{% for k, v in table | dictsort %}{{ loop.index }}{{ k }}{{ v }}{{ ',' if not loop.last }}{% endfor %} {% for k in table %}{{ k }}{% endfor %} {% for c in 'añb' %}{{ c }}.{% endfor %} {% for a in [] %}x{% else %}e{% endfor %} {% for x in [1, 2, 3] if x is odd %}{{ x }}{{ loop.length }}{% endfor %} {% for x in words | reverse %}{{ loop.revindex0 }}{{ x }}{% endfor %}
{% for x in [1, 2] %}{% for y in [3, 4] %}{{ loop.index }}{% set outer = loop %}{{ x * y }}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}{{ loop.index }}{% endfor %}{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{{ loop.nextitem }}{% endfor %}
{% for i in range(10) %}{% if i is even %}{% continue %}{% endif %}{% if i > 6 %}{% break %}{% endif %}{{ i }}{% if loop.last %}never{% endif %}{% else %}no{% endfor %}
{% for x in [1, 2, 3] %}{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}{{ loop is defined }}{{ x is defined }}
{% break %}
{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}
{% if name == 'mscc' and (count > 2 or half) and not nosuch %}a{% elif 1 %}b{% else %}c{% endif %}{% if words %}w{% endif %}{% if '' %}e{% endif %}{% if 0.0 %}z{% endif %}{% if {} %}d{% endif %}{% if ' ' %}s{% endif %}
{{ [1, 2,] }}
{{ {'a': 1,} }}
{{ (1,) }}
{{ ('a' 'b') }}
{{ "a\"b" }}
{{ 'a\\n' }}
{{ '\u4f60' }}
{{ '\x41' }}
{{ '\U0001F600' }}
{{ "tab\there" }}
{{ 'newx' }}
{{ messages | tojson(ensure_ascii=False, indent=2) | length }} {{ {'b': [1, {}], 'a': 'é<>&\''} | tojson(sort_keys=true, indent=1) }} {{ 'x"y\\z/\u2028' | tojson }} {{ [1.0, 2.5e-8, 1e16, -0.0] | tojson }} {{ none | tojson }} {{ true | tojson }} {{ {'a': none} | tojson(separators=[',', ':']) }} {{ {} | tojson(indent=4) }} {{ [[], {}] | tojson(indent=0) }}
{{ range(3) | tojson }}
{{ raise_exception is defined }}
{{ strftime_now is callable }}
{{ dict is defined }}
{{ lipsum is undefined }}
{{ self is none }}{{ _ is defined }} {{ __name__ is defined }} {{ messages.__class__ is defined }} {{ [].__len__ is defined }}
{{ messages.append({'role': 'x'}) }}
{{ messages[0].update({'role': 'x'}) }}
{{ messages[0].setdefault('role', 'x') }}
{{ [3, 1].sort() }}
{{ 'abc'.nosuch is defined }} {{ [1].nosuch is defined }} {{ messages.0.role }} {{ messages[0].role.nosuch is defined }}
{{ 'abc' | nosuchfilter if false else 'x' }}
{{ 'abc' is nosuchtest }}
{{ {'a': 1}.get('b') is none }}
{{ {'a': 1}.get('a', 2) }}
{{ {'a': 1}.get('b', {}).get('c', 'd') }}
{{ {'a': 1}.keys() | join }}
{{ 'a' in {'a': 1}.keys() }}
{{ {'a': 1}.values() | first }}
{{ {'a': 1, 'b': 2}.items() | map('last') | list }}
{{ {'a': 1}.keys() }}
{{ {'a': 1}.items() }}
{{ {'a': 1}.values() }}
{{ {'a': 1}.items() | length }}
{{ {'a': 1}.items()[0] }}
{{ 'text with "quotes" & <tags>' | e }}
{{ '<' ~ '>' | e }}
{{ ('<' | e) ~ '<' }}
{{ '<' | safe ~ '&' }}
{{ ('<' | e) + '<' }}
{{ '<' | e | upper }}
{{ ['<' | safe] }}
{{ ('<b>' | safe) | tojson }}
{{ 'a<' | escape | length }}
{{ 'a' ~ (1, 2) ~ {'k': 1.0} ~ [true, none, 'it\'s'] ~ 2.0 }} {{ '' ~ 1e15 ~ 0.0001 }}
{{ '' ~ 1e22 ~ [1e-7] }}
{% if messages | length > 1 and messages[-1].role == 'user' -%} x {%- endif %} {%- if true %} y {% endif -%} z
{%- for m in messages -%} {{ m.role }} {%- if not loop.last -%} , {%- endif -%} {%- endfor -%}
{{ "{{ not a tag }}" }} {{ '{% if %}' }} {{ '{#' }} {{ "}}" }} {{ '%}' }}
{{ messages|map(attribute='content')|select('string')|map('length')|list }}
{{ (messages|first).role }}
{{ "%s" % name }}
{{ 'é' == 'é' }}
{{ '🙂' | length }}
{{ '👩‍👧'[0] }}
{{ '🙂'.upper() }}
{{ 'ǆ'.title() }}
{{ 'ŉ'.upper() }}
{{ 'Straße'.casefold() }}
{{ 'İI'.lower() }}
{{ 'σς'.upper() }}
{{ '\u00a0a\u200b'.strip() | length }}
{{ ['\u00a0\u200b\u2028é🙂\x7f\x1b'] }}
{{ ['\ue000\u0378\ufeff'] }}
""".strip("\n").split("\n")
MULTILINE = [
    "{% for m in messages %}\n    {% if m.role == 'user' %}\n  {{ m.role }}\n    {% endif %}\n{% endfor %}\nend\n",
    "a\n  {# c #}\nb\n  {%- if true %}\n x\n  {%- endif %}\n\n{{ 1 }}\n\n",
    "{%+ if true %}\n  x\n{%+ endif %}\n\ty\n  \t{% if true %}z{% endif %}\n",
    "line\r\n{% if true %}\r\nx\r\n{% endif %}\r\ny",
    "{%- set text -%}\n  a\n  b  \n{%- endset -%}\n[{{ text }}]\n",
    "{{ 'a\nb' }}\n{% raw %}\n  {{ raw }}\n{% endraw %}\n x",
]


def render(template, conversation, tools, prompt, variables):
    messages = [{k: v for k, v in message.items() if v is not None} for message in CONVERSATIONS[conversation]]
    try:
        texts, _ = render_jinja_template([messages], tools=tools, chat_template=template, add_generation_prompt=prompt, **variables)
        return {"text": texts[0]}
    except jinja2.exceptions.TemplateSyntaxError:
        return {"error": "failed"}
    except jinja2.exceptions.TemplateError as error:
        refused = type(error) is jinja2.exceptions.TemplateError
        return {"error": "refused", "message": str(error)} if refused else {"error": "failed"}
    except Exception:
        return {"error": "failed"}


def main():
    cases = []
    for template in WHOLE:
        for conversation, tools, prompt in itertools.product(CONVERSATIONS, (None, TOOLS), (False, True)):
            expected = render(template, conversation, tools, prompt, VARIABLES)
            cases.append({"template": template, "conversation": conversation, "tools": tools is not None, "prompt": prompt, **expected})
    for template in SNIPPETS + MULTILINE:
        expected = render(template, "turns", None, False, VARIABLES)
        cases.append({"template": template, "conversation": "turns", "tools": False, "prompt": False, **expected})
    out = {"conversations": CONVERSATIONS, "tools": TOOLS, "variables": VARIABLES, "cases": cases}
    path = pathlib.Path(__file__).with_name("cases.json")
    path.write_text(json.dumps(out, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(len(cases), "cases")


if __name__ == "__main__":
    main()
