use super::*;

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
