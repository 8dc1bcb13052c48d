//! Hostile chat templates end in an error, soon and in little memory. Each runs in a process of its own, so that an
//! abort shows and memory can be measured.

#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::time::{Duration, Instant};

use mscc_text::{ChatError, ChatInput, ChatTemplate};
use proptest::prelude::*;
use serde_json::json;

/// Most processor time of a process that loads and renders one, in seconds.
const MAX_SECONDS: f64 = 1.3;
/// Most memory of such a process, in kB.
const MAX_MEMORY_KB: u64 = 256 << 10;
/// Names the case to a child, as `<index>:<size>`.
const CASE: &str = "MSCC_TEXT_HOSTILE_CASE";

/// Templates, in which `@` is a size, with one at which they render, so that it is the size that a limit stops, and
/// one at which they must not.
const HOSTILE: &[(&str, u64, u64)] = &[
    // Loops and recursion.
    ("{% for a in range(@) %}{% for b in range(@) %}{% endfor %}{% endfor %}", 3, 99_999),
    (
        "{% for a in range(@) %}{% for b in range(@) %}{% if false %}{% endif %}{% endfor %}{% endfor %}",
        3,
        90_000,
    ),
    ("{% for a in range(@) %}{% endfor %}", 3, 1_000_000_000),
    ("{% macro m(n) %}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(@) }}", 5, 100_000),
    (
        "{% macro a(n) %}{{ b(n - 1) if n > 0 }}{% endmacro %}{% macro b(n) %}{{ a(n - 1) if n > 0 }}{% endmacro %}{{ a(@) }}",
        5,
        100_000,
    ),
    ("{% macro m(n) %}{% if n > 0 %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(@) }}", 3, 60),
    (
        "{% macro m(n) %}{{ caller(n) }}{% endmacro %}{% macro r(n) %}{% call(x) m(n) %}{{ r(x - 1) if x > 0 }}{% endcall %}{% endmacro %}{{ r(@) }}",
        3,
        100_000,
    ),
    ("{% for x in [1] recursive %}{{ loop([1]) if loop.depth < @ }}{% endfor %}", 3, 100_000),
    ("{% for x in [1, 2] recursive %}{{ loop([1, 2]) if loop.depth < @ }}{% endfor %}", 3, 60),
    ("{% if @ > 1 %}{% include 'default' %}{% endif %}", 1, 2),
    ("{% if @ > 1 %}{% import 'default' as x %}{% endif %}", 1, 2),
    // Output.
    ("{% for a in range(@) %}{{ 'x' * 10000 }}{% endfor %}", 2, 100_000),
    ("{% for a in range(@) %}{{ messages }}{% endfor %}", 2, 99_999),
    ("{{ messages * @ }}", 2, 100_000_000),
    (
        "{% set x %}{% for a in range(@) %}{{ 'x' * 10000 }}{% endfor %}{% endset %}{{ x | length }}",
        2,
        100_000,
    ),
    ("{% macro m() %}{{ 'x' * @ }}{% endmacro %}{{ m() ~ m() }}", 2, 40_000_000),
    ("{{ 'x' * @ }}", 10, 1_000_000_000),
    ("{{ ('x' * @) | length }}", 10, 10_000_000_000_000),
    ("{{ [1] * @ }}", 3, 1_000_000_000),
    ("{{ (1, 2) * @ }}", 3, 100_000_000),
    ("{{ range(@) | list | length }}", 3, 1_000_000_000),
    ("{{ range(@) | join }}", 3, 1_000_000_000),
    ("{{ range(@) | list | sort | length }}", 3, 99_999_999),
    ("{{ 2 ** @ }}", 3, 100_000_000),
    // Widths.
    ("{{ 'x'.center(@) }}", 3, 1_000_000_000),
    ("{{ 'x'.ljust(@) }}", 3, 1_000_000_000),
    ("{{ 'x'.rjust(@, '.') }}", 3, 1_000_000_000),
    ("{{ 'x'.zfill(@) }}", 3, 1_000_000_000),
    ("{{ 'x' | center(@) }}", 3, 1_000_000_000),
    ("{{ '%@d' | format(1) }}", 3, 100_000_000),
    ("{{ '%.@f' | format(1) }}", 3, 100_000_000),
    ("{{ '{:>@}'.format(1) }}", 3, 100_000_000),
    ("{{ ('{:>1000}' * @).format(1) }}", 0, 100_000),
    ("{{ 'x\\ny' | indent(@) }}", 3, 1_000_000_000),
    ("{{ ('x\\n' * @) | indent(10000) | length }}", 3, 1_000_000),
    ("{{ messages | tojson(indent=@) }}", 3, 9_000_000_000_000_000_000),
    ("{{ (range(@) | list) | tojson(indent=1000) | length }}", 3, 99_999),
    ("{{ [1] | batch(@, 1) | list | length }}", 3, 1_000_000_000),
    ("{{ [1] | slice(@) | list | length }}", 3, 1_000_000_000),
    // Growth by what multiplies.
    ("{% set ns = namespace(x='a') %}{% for a in range(@) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}", 3, 60),
    ("{% set ns = namespace(x='a') %}{% for a in range(@) %}{% set ns.x = ns.x + ns.x %}{% endfor %}", 3, 60),
    (
        "{% set ns = namespace(x='a') %}{% for a in range(@) %}{% set ns.x = ns.x.join(['', ns.x, '']) %}{% endfor %}",
        3,
        60,
    ),
    (
        "{% set ns = namespace(x='a') %}{% for a in range(@) %}{% set ns.x = [ns.x, ns.x] | join(ns.x) %}{% endfor %}",
        3,
        60,
    ),
    (
        "{% set ns = namespace(x='a') %}{% for a in range(@) %}{% set ns.x = ns.x | replace('a', 'aa') %}{% endfor %}",
        3,
        60,
    ),
    (
        "{% set ns = namespace(x='a') %}{% for a in range(@) %}{% set ns.x = ns.x.replace('a', 'aa') %}{% endfor %}",
        3,
        60,
    ),
    (
        "{% set ns = namespace(x='a') %}{% for a in range(@) %}{% set ns.x = '{0}{0}'.format(ns.x) %}{% endfor %}",
        3,
        60,
    ),
    (
        "{% set ns = namespace(x='a') %}{% for a in range(@) %}{% set ns.x = '%s%s' | format(ns.x, ns.x) %}{% endfor %}",
        3,
        60,
    ),
    (
        "{% set ns = namespace(x='\"') %}{% for a in range(@) %}{% set ns.x = ns.x | tojson %}{% endfor %}",
        3,
        60,
    ),
    (
        "{% set ns = namespace(x='<') %}{% for a in range(@) %}{% set ns.x = (ns.x ~ '<') | e ~ '<' %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        3,
        60,
    ),
    ("{% set ns = namespace(x=[1]) %}{% for a in range(@) %}{% set ns.x = ns.x + ns.x %}{% endfor %}", 3, 60),
    (
        "{% set ns = namespace(x=[1]) %}{% for a in range(@) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        3,
        60,
    ),
    (
        "{% set ns = namespace(x=[1], y=[1]) %}{% for a in range(@) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
        3,
        60,
    ),
    (
        "{% set ns = namespace(x={}) %}{% for a in range(@) %}{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}{{ ns.x | tojson }}",
        3,
        60,
    ),
    (
        "{% set ns = namespace(x=[]) %}{% for a in range(@) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
        9,
        99_999,
    ),
    ("{{ ('a' * 10000).replace('a', 'b' * @) | length }}", 3, 100_000),
    ("{{ ('a' * 10000) | replace('a', 'b' * @) | length }}", 3, 100_000),
    ("{{ ('{0}' * 1000).format('b' * @) | length }}", 3, 1_000_000),
    ("{{ ('%(a)s' * 1000) | format(a='b' * @) | length }}", 3, 1_000_000),
    ("{{ ('b' * @).join(range(1000) | map('string')) | length }}", 3, 1_000_000),
    ("{{ ['x' * @] * 1000 ~ '' }}", 3, 1_000_000),
    ("{{ '' ~ ['x' * @] * 1000 }}", 3, 1_000_000),
    ("{{ (['x' * @] * 1000) | upper | length }}", 3, 1_000_000),
    ("{{ (['x' * @] * 1000) | string | length }}", 3, 1_000_000),
    ("{{ (['x' * @] * 1000) | replace('y', 'z') | length }}", 3, 1_000_000),
    ("{{ (['x' * @] * 1000) | join | length }}", 3, 1_000_000),
    ("{{ (['x' * @] * 1000) | trim | length }}", 3, 1_000_000),
    ("{{ (['x' * @] * 1000) | urlencode | length }}", 3, 1_000_000),
    ("{{ (['x' * @] * 1000) | capitalize | length }}", 3, 1_000_000),
    ("{{ (['x' * @] * 1000) | title | length }}", 3, 1_000_000),
    ("{{ '%s' | format(['x' * @] * 1000) | length }}", 3, 1_000_000),
    ("{{ '{}'.format(['x' * @] * 1000) | length }}", 3, 1_000_000),
    ("{{ raise_exception(['x' * @] * 1000) if @ > 9 }}", 3, 1_000_000),
    ("{{ ('<' * @) | e | length }}", 3, 30_000_000),
    ("{{ ('\\x01' * @) | tojson | length }}", 3, 20_000_000),
    ("{{ ['\\x01' * @] | string | length }}", 3, 20_000_000),
    ("{{ ('a' * @).split('a') | length }}", 3, 20_000_000),
    ("{{ ('a ' * @).split() | length }}", 3, 10_000_000),
    ("{{ ('a\\n' * @).splitlines() | length }}", 3, 10_000_000),
    ("{{ ('a' * @) | list | length }}", 3, 20_000_000),
    ("{% for c in 'a' * @ %}{% endfor %}", 3, 20_000_000),
    ("{{ strftime_now('%c' * @) | length }}", 3, 10_000_000),
    ("{{ dict(range(@) | map('string') | map('center', 100) | map('list')) if @ > 9 }}", 3, 1_000_000),
];

/// Sources, made of a piece that is repeated, with what stands before and behind.
const SOURCES: &[(&str, &str, &str, u64, u64)] = &[
    ("{{ ", "(", "1", 5, 100_000),
    ("{{ ", "[", "1", 5, 100_000),
    ("{{ ", "{'a':", "1", 5, 100_000),
    ("{{ ", "- ", "1 }}", 5, 100_000),
    ("{{ ", "not ", "1 }}", 5, 100_000),
    ("{{ ", "f(", "1", 5, 100_000),
    ("{{ ", "a ~ (", "1", 5, 100_000),
    ("{{ 1", " ~ (1", "", 5, 100_000),
    ("{{ 1", " if 1 else 1", " }}", 5, 60_000),
    ("{{ 1", " ** 1", " }}", 5, 150_000),
    ("{{ 1", " + 1", " }}", 5, 150_000),
    ("{{ 1", " ~ 1", " }}", 5, 150_000),
    ("{{ 1", " and 1", " }}", 5, 150_000),
    ("{{ 1", " < 1", " }}", 5, 150_000),
    ("{{ a", ".a", " }}", 5, 300_000),
    ("{{ a", "['items']", " }}", 5, 100_000),
    ("{{ a", "|trim", " }}", 5, 150_000),
    ("{{ [", "1,", "] }}", 5, 450_000),
    ("", "{% if 1 %}", "", 5, 90_000),
    ("", "{% for x in y %}", "", 5, 60_000),
    ("", "{% macro m() %}", "", 5, 60_000),
    ("{% if 0 %}", "{% elif 0 %}", "{% endif %}", 5, 80_000),
    ("", "{{ 1 }}", "", 5, 140_000),
    ("", "{{", "", 5, 500_000),
    ("", "{%", "", 5, 500_000),
    ("", "{#", "", 5, 500_000),
    ("{% raw %}", "{%", "%}", 5, 500_000),
    ("", "{% raw %}", "{% endraw", 5, 100_000),
    ("{{ '", "\\\\", "' }}", 5, 500_000),
    ("", "x", "", 5, 5_000_000),
    ("{% set a = [1] %}", "{% set a = [a, a] %}", "{{ a == [a[0], a[0]] }}", 5, 40_000),
];

fn hi() -> ChatInput {
    ChatInput::new(json!([{"role": "user", "content": "Hi"}]))
}

fn template(index: usize, size: u64) -> String {
    match HOSTILE.get(index) {
        Some((template, ..)) => template.replace('@', &size.to_string()),
        None => {
            let (before, piece, behind, ..) = SOURCES[index - HOSTILE.len()];
            format!("{before}{}{behind}", piece.repeat(usize::try_from(size).unwrap()))
        }
    }
}

/// What became of it, its processor time in seconds and the most memory it took in kB.
struct Outcome {
    ended: String,
    seconds: f64,
    memory_kb: u64,
}

/// Renders one case in a child.
fn run(index: usize, size: u64) -> Outcome {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_child_renders_its_case", "--nocapture"])
        .env(CASE, format!("{index}:{size}"))
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    let line = output.lines().find_map(|line| Some(line.split_once("outcome: ")?.1.to_owned()));
    let Some(line) = line else {
        return Outcome { ended: format!("{}", child.status), seconds: 0.0, memory_kb: 0 };
    };
    let mut words = line.splitn(3, ' ');
    let mut word = || words.next().unwrap();
    Outcome { seconds: word().parse().unwrap(), memory_kb: word().parse().unwrap(), ended: word().to_owned() }
}

#[test]
fn a_child_renders_its_case() {
    let Ok(case) = std::env::var(CASE) else { return };
    let (index, size) = case.split_once(':').unwrap();
    let template = template(index.parse().unwrap(), size.parse().unwrap());
    let ended = match ChatTemplate::from_text(&template).and_then(|template| template.render(&hi())) {
        Ok(_) => "rendered".to_owned(),
        Err(ChatError::Limit { what }) => format!("limit: {what}"),
        Err(error) => format!("error: {}", error.to_string().chars().take(200).collect::<String>()),
    };
    println!("outcome: {} {} {ended}", processor_seconds(), peak_memory_kb());
}

/// Processor time of this process so far. It counts where the system tells it, else nothing.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold spaces, user time is field 12 and system time 13, in ticks of 10 ms.
    let behind = stat.rsplit(')').next().unwrap_or_default();
    behind.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>()
        / 100.0
}

/// Most memory of this process so far, as above.
fn peak_memory_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn hostile_templates_end_in_an_error_soon_and_in_little_memory() {
    let mut wrong = Vec::new();
    for (index, (template, small, huge)) in HOSTILE.iter().enumerate() {
        let usual = run(index, *small);
        if usual.ended != "rendered" {
            wrong.push(format!("{template} with {small}: {}", usual.ended));
        }
        let hostile = run(index, *huge);
        let is_error = hostile.ended.starts_with("limit: ") || hostile.ended.starts_with("error: ");
        check(template, &hostile, is_error, &mut wrong);
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn hostile_sources_end_soon_and_in_little_memory() {
    let mut wrong = Vec::new();
    for (index, (before, piece, behind, small, huge)) in SOURCES.iter().enumerate() {
        let name = format!("{before}({piece})*{behind}");
        for size in [*small, *huge] {
            let outcome = run(HOSTILE.len() + index, size);
            // Some are valid at any length.
            let is_told =
                ["limit: ", "error: ", "rendered"].iter().any(|start| outcome.ended.starts_with(start));
            check(&name, &outcome, is_told, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn check(name: &str, outcome: &Outcome, is_right: bool, wrong: &mut Vec<String>) {
    let Outcome { ended, seconds, memory_kb } = outcome;
    if !is_right || *seconds > MAX_SECONDS || *memory_kb > MAX_MEMORY_KB {
        wrong.push(format!("{name}: {ended}, {seconds} s, {} MB", memory_kb >> 10));
    }
}

/// Pieces of templates; those with `@` take another piece in its place.
const PIECES: &[&str] = &[
    "x",
    "\n  ",
    "{{ messages }}",
    "{{ ns.x }}",
    "{{ 'a' * 99999 }}",
    "{{ @ ~ @ }}",
    "{{ (@) | tojson(indent=9) }}",
    "{% for a in range(3000) %}@{% endfor %}",
    "{% for m in messages recursive %}@{{ loop(messages) }}{% endfor %}",
    "{% if @ %}@{% else %}@{% endif %}",
    "{% set ns = namespace(x='a', y=[1]) %}",
    "{% set ns.x = ns.x ~ ns.x %}@",
    "{% set ns.y = [ns.y, ns.y] %}",
    "{% set ns.y = ns %}@",
    "{{ ns }}{{ ns.y == ns.y }}",
    "{% set v = @ %}{{ v }}",
    "{% macro m(a) %}@{% endmacro %}",
    "{{ m(@) }}",
    "{{ m(m) }}",
    "{% call m(1) %}@{% endcall %}",
    "{{ caller() }}",
    "{% generation %}@{% endgeneration %}",
    "{% raw %}@{% endraw %}",
    "{# @ #}",
    "{%- break -%}",
    "{% continue %}",
    "messages",
    "ns.y",
    "[1, 2.5, none]",
    "{'a': [@], 'items': 1}",
    "'é\\n\"'",
    "messages[0].items",
    "range(9)",
    "(@)['items']",
    "(@) | upper",
    "(@) | sort",
    "(@) | join(@)",
    "(@).split(@)",
    "(@)[::-1]",
    "(@) + (@)",
    "(@) * 999",
    "(@) == (@)",
    "(@) in (@)",
    "not @",
    "-(@)",
    "(@) is iterable",
    "(@) if (@) else (@)",
    "(@) | replace(@, @)",
    "(@) | map('upper') | list",
    "(@) | groupby(@)",
    "(@).format(@, @)",
    "'%s' | format(@)",
    "(@) | indent(999, true)",
    "(@) ** (@)",
    "(@) // 0",
    "'x'.center(99999)",
    "(@) | batch(3, @) | list",
    "dict(@)",
    "strftime_now(@)",
    "raise_exception(@)",
    "(@) | default(@, true)",
    "(@) | dictsort",
    "(@) | items",
    "(@) | unique",
    "(@) | int",
    "~",
    "{{",
    "}}",
    "{%",
    "%}",
    "(",
    "]",
    "'",
    "{% endfor %}",
    "{% set",
    "=",
    "|",
    ".items",
    "\u{1F642}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn templates_of_random_pieces_end_in_a_text_or_an_error(
        start in prop::collection::vec(0..PIECES.len(), 1..6),
        fillings in prop::collection::vec(0..PIECES.len(), 0..40),
    ) {
        let mut template: String = start.iter().map(|piece| PIECES[*piece]).collect();
        for filling in fillings {
            template = template.replacen('@', PIECES[filling], 1);
        }
        let start = Instant::now();
        let result = ChatTemplate::from_text(&template).and_then(|template| template.render(&hi()));
        // The time limit is a second; the rest is for a busy machine.
        prop_assert!(start.elapsed() < Duration::from_secs(5), "{template} took {:?}", start.elapsed());
        if let Err(ChatError::Render { reason, .. }) = &result {
            prop_assert!(!reason.contains("the template engine failed"), "{}", template);
        }
    }
}
