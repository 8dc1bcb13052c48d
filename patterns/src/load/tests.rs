use proptest::prelude::*;

use super::*;

const RULE: &str = "\
rule swiglu
doc   Activates and multiplies.
phase fuse
given ?gate: float[.., I]  ?up: float[.., I]
match ?y = (mul ?a ?up)
      ?a = (silu ?gate)
make  ?t = (swiglu ?gate ?up)
equal ?y = ?t
where same_type(?gate, ?up)
numerics fewer_roundings
gain  saves a launch
";

const SIBLINGS: &str = "\
rule merge
doc   Joins.
phase merge
given ?x: float[.., K]  ?w*: float[N, K]
match siblings ?x  ?y* = (matmul ?x ?w* {trans_b=true})
make  ?m = (matmul ?x (concat ?w* {axis=0}) {trans_b=true})
      ?t = (split ?m {axis=-1, sizes=sizes(?w*, 0)})
equal ?y* = ?t.*
where source_weight(?w*)
numerics exact
gain  saves launches
";

/// The error of `text` with `from` replaced by `to`.
fn error(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    load(&text.replacen(from, to, 1), "f").unwrap_err().to_string()
}

#[test]
fn builtin_rules_load_and_print_back() {
    let rules = builtin().unwrap();
    assert!(rules.len() >= 10);
    assert!(rules.is_sorted_by(|a, b| a.name < b.name));
    for rule in &rules {
        let text = rule.to_string();
        assert_eq!(load(&text, "printed"), Ok(vec![rule.clone()]), "{text}");
    }
}

#[test]
fn a_file_holds_several_rules_and_comments() {
    let text = format!("# rules of mine\n{RULE}\n  # indented\n{SIBLINGS}gain_").replace("gain_", "");
    let rules = load(&text.replace("doc   Joins.", "doc   Joins # not told\n      siblings."), "f").unwrap();
    assert_eq!(rules.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>(), ["swiglu", "merge"]);
    assert_eq!(rules[1].doc, "Joins siblings.");
    assert_eq!(load("", "f"), Ok(Vec::new()));
    let twice = load(&format!("{RULE}{RULE}"), "f").unwrap_err();
    assert_eq!(twice.to_string(), "f:12:1: `rule swiglu` is there twice");
}

#[test]
fn errors_tell_place_and_remedy() {
    let cases = [
        (RULE, "(silu ", "(slu ", "f:6:13: unknown op `slu`: did you mean `silu`?"),
        (RULE, "same_type", "sametype", "f:9:7: unknown guard `sametype`: did you mean `same_type`?"),
        (
            RULE,
            "phase fuse",
            "phase fusion",
            "f:3:7: unknown phase `fusion`: expected one of choose, expand, algebra, merge, fuse",
        ),
        (RULE, "where", "wehre", "f:9:1: unknown part of a rule `wehre`: did you mean `where`?"),
        (RULE, "swiglu ?gate ?up", "swiglu ?gate ?upp", "f:7:26: `?upp` is not bound on the left side"),
        (RULE, "swiglu ?gate ?up", "swiglu ?gate", "f:7:13: `swiglu` takes gate, up, given 1"),
        (
            RULE,
            "swiglu ?gate ?up",
            "swiglu ?a ?up",
            "f:7:20: `?a` is a node of the left side and cannot be an operand of the right side here",
        ),
        (
            RULE,
            "?a = (silu",
            "?b = (silu",
            "f:6:7: `?b` is not an operand of a clause before this one and reads none, so there is no way to find it from the first",
        ),
        (
            RULE,
            "(silu ?gate)",
            "(silu ?y)",
            "f:6:18: `?y` is the result of a clause before this one: write that clause after all that read it",
        ),
        (RULE, "  ?up: float[.., I]", "", "f:5:20: `?up` has no type: add it under `given`"),
        (RULE, "?up: float", "?u: float", "f:4:28: `?u` is no operand of the left side, so it takes no type"),
        (RULE, "?y = ?t", "?y = ?t.1", "f:8:12: `swiglu` has 1 results, there is no `?t.1`"),
        (RULE, "?y = ?t", "?a = ?t", "f:8:6: `?y`, the first node of the left side, equals nothing"),
        (RULE, "?y = ?t", "?up = ?t", "f:8:7: `?up` is an operand and cannot be what is replaced here"),
        (
            RULE,
            "(silu ?gate)",
            "(silu ?gate {eps=1})",
            "f:6:13: `silu`: unknown attribute `eps`: expected none",
        ),
        (
            RULE,
            "(swiglu ?gate ?up)",
            "(reshape ?gate {shape=[I, J]})",
            "f:7:34: no axis of the left side is called `J`",
        ),
        (
            RULE,
            "?up: float[.., I]",
            "?up: float[.., 2 * J]",
            "f:4:43: no axis of the left side is called `J`",
        ),
        (RULE, "?up: float[.., I]", "?up: float[.., I - I]", "f:4:43: expected a size above 0, found `I`"),
        (RULE, "(silu ?gate)", "(rms_norm ?gate ?up)", "f:6:13: `rms_norm`: attribute `eps` is missing"),
        (
            RULE,
            "(silu ?gate)",
            "(cast ?gate {dtype=int})",
            "f:6:13: `cast`: attribute `dtype`: expected a float dtype, i32 or i64, found `int`",
        ),
        (RULE, "same_type(?gate, ?up)", "lossless(?gate)", "f:9:7: `lossless` takes ?x, ?x, given 1"),
        (
            RULE,
            "same_type(?gate, ?up)",
            "same_type(?t)",
            "f:9:17: `?t` is a node of the right side and cannot be part of a condition here",
        ),
        (RULE, "gain  saves a launch\n", "", "f:1:1: the rule has no `gain`"),
        (
            RULE,
            "gain  saves a launch",
            "gain  # none",
            "f:11:13: expected a sentence, found the end of this part",
        ),
        (
            RULE,
            "mul ?a ?up",
            "mul ?a ?up*",
            "f:5:20: expected one value: stars are for `match siblings`, found `?up*`",
        ),
        (RULE, "doc ", "\u{2003}doc ", "f:2:4: expected a part of a rule, such as `match`, found `doc`"),
        (RULE, "rule swiglu", "", "f:2:1: expected `rule`, found `doc`"),
        (
            SIBLINGS,
            "matmul ?x (concat",
            "matmul ?x ?w* (concat",
            "f:6:13: `matmul` takes a, b, bias?, given 3",
        ),
        (RULE, "(silu ?gate)", "(mul ?gate ?a)", "f:6:7: `?a` is computed from itself"),
        (
            RULE,
            "(silu ?gate)",
            "(silu ?gate.1)",
            "f:6:18: `?gate` is one value and cannot be a node of several results here",
        ),
        (
            RULE,
            "swiglu ?gate ?up",
            "swiglu ?gate.0 ?up",
            "f:7:20: `?gate` is one value and cannot be a node of several results here",
        ),
        (SIBLINGS, "?y* = ?t.*", "?y* = ?t", "f:8:15: expected `.*`, found the end of this part"),
        (
            SIBLINGS,
            "?y* = (matmul ?x ?w*",
            "?y* = (matmul ?z ?w*",
            "f:5:16: `?x` is not bound on the left side",
        ),
        (
            SIBLINGS,
            "sizes(?w*, 0)",
            "sizes(?x*, 0)",
            "f:7:44: `?x` is one value and cannot be each sibling's value here",
        ),
        (
            SIBLINGS,
            "axis=-1",
            "axis=last",
            "f:7:13: `split`: attribute `axis`: expected an integer, found `last`",
        ),
    ];
    for (text, from, to, expected) in cases {
        assert_eq!(error(text, from, to), expected);
    }
}

#[test]
fn deep_and_long_texts_are_refused() {
    let deep = format!("{}?gate{}", "(silu ".repeat(1000), ")".repeat(1000));
    assert!(error(RULE, "(silu ?gate)", &deep).contains("nested more than 16 deep"));
    assert!(load(&"#".repeat(MAX_TEXT_BYTES + 1), "f").is_err());
    let mut sum = "?x".to_owned();
    for _ in 0..5 {
        sum = format!("(add {sum} ?x)");
    }
    let text = RULE.replace("(silu ?gate)", &sum).replace("?gate", "?x");
    assert!(load(&text, "f").unwrap_err().to_string().contains("more than 4 nodes"));
}

/// Pieces of rules in any order: more likely to get far into the parser than any bytes are.
fn pieces() -> impl Strategy<Value = String> {
    let words = [
        "rule",
        "doc",
        "phase",
        "given",
        "match",
        "make",
        "equal",
        "where",
        "numerics",
        "gain",
        "siblings",
        "\n",
        "\n ",
        " ",
        "?x",
        "?y",
        "?w*",
        "?t.*",
        "?t.0",
        "?t.4294967296",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        "=",
        ",",
        ":",
        "..",
        "float",
        "any",
        "fuse",
        "exact",
        "matmul",
        "split",
        "cast",
        "axis",
        "eps",
        "sizes",
        "sizes(?w*, 0)",
        "1e-6",
        "-",
        "9e999",
        "99999999999999999999",
        "#",
        "same_type",
        "inverse",
        "é",
        "\u{2003}",
        "_",
        "K",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..60).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_text_makes_the_loader_panic(text in "\\PC{0,200}") {
        let _ = load(&text, "f");
    }

    #[test]
    fn no_pieces_make_the_loader_panic(text in pieces()) {
        let _ = load(&text, "f");
    }

    /// A rule with a stretch of it replaced: if it loads, it prints back.
    #[test]
    fn changed_rules_do_not_panic(
        siblings: bool, from in 0usize..400, len in 0usize..30, piece in pieces(),
    ) {
        let text = if siblings { SIBLINGS } else { RULE };
        let (from, to) = (from.min(text.len()), (from + len).min(text.len()));
        let text = format!("{}{piece}{}", &text[..from], &text[to..]);
        if let Ok(rules) = load(&text, "f") {
            for rule in rules {
                prop_assert_eq!(load(&rule.to_string(), "printed"), Ok(vec![rule]));
            }
        }
    }
}
