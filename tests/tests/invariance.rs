//! Logits do not depend on threads, chunks, batch mates or the size of cache pages: not by a bit.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::Path;

use mscc_runtime::device::cpu::Isa;
use mscc_runtime::{LoadOptions, Model};
use mscc_tests::{FIXTURES, Fixture, bits, compile_model, load, logits, through_bytes};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

#[test]
fn threads_chunks_batch_mates_and_block_sizes() {
    for name in FIXTURES {
        for compute in ["float32", "bfloat16"] {
            // Of several forms, steps of few tokens always run in the same.
            let compiled = compile_model(&Fixture::open(name).dir, compute, |_| {});
            let several = compiled.plan.programs[0].variants.len() > 1;
            for form in if several { &["auto", "absorbed", "expanded"][..] } else { &["auto"] } {
                check(name, compute, form);
            }
        }
    }
}

fn check(name: &str, compute: &str, form: &str) {
    let fixture = Fixture::open(name);
    let prompts: Vec<&[u32]> =
        fixture.expected.prompts.iter().map(|prompt| prompt.token_ids.as_slice()).collect();
    let subject = prompts[2];
    let compile = |block_size| {
        compile_model(&fixture.dir, compute, |options| {
            options.latent_attention = Some(form.to_owned());
            options.block_size = block_size;
        })
    };
    let compiled = compile(None);
    assert!(form == "auto" || compiled.plan.programs[0].variants.len() == 1, "{name}");
    let mut model = load(&compiled, 1);
    let expected = bits(&logits(&mut model, &[subject], None)[0]);
    for chunk in [1, 3, 7] {
        let got = bits(&logits(&mut model, &[subject], Some(chunk))[0]);
        assert!(got == expected, "{name} {compute} {form}: chunk {chunk}");
    }
    for threads in [2, 3] {
        let mut model = load(&compiled, threads);
        let got = bits(&logits(&mut model, &[subject], None)[0]);
        assert!(got == expected, "{name} {compute} {form}: {threads} threads");
        // Five others of different lengths, before and behind it.
        let batch = [prompts[0], &subject[..9], prompts[1], subject, &subject[..1], &prompts[1][..4]];
        for chunk in [None, Some(4)] {
            let got = bits(&logits(&mut model, &batch, chunk)[3]);
            assert!(
                got == expected,
                "{name} {compute} {form}: in a batch, {threads} threads, chunk {chunk:?}"
            );
        }
    }
    for block_size in [1, 3, 16, 128] {
        let got = bits(&logits(&mut load(&compile(Some(block_size)), 2), &[subject], Some(5))[0]);
        assert!(got == expected, "{name} {compute} {form}: block size {block_size}");
    }
}

/// New tokens of a step from which plans of two forms run the one for prefill.
const MANY: usize = 256;

/// Attention over latents is the same by all forms, but for what is rounded elsewhere.
#[test]
fn forms_of_latent_attention_agree() {
    let mut models = 0;
    for name in FIXTURES {
        let fixture = Fixture::open(name);
        let run = |form: &str, chunk| {
            let compiled = compile_model(&fixture.dir, "float32", |options| {
                options.latent_attention = Some(form.to_owned());
            });
            let kernel = match form {
                "absorbed" => "latent_attention",
                _ => "ragged_attention",
            };
            let variants = &compiled.plan.programs[0].variants;
            let mut launches = variants
                .iter()
                .flat_map(|variant| &variant.functions)
                .flat_map(|function| &function.launches);
            let is_taken = launches.any(|launch| launch.kernel == kernel);
            // Enough of them for a step of many tokens, in which a plan of both forms runs the expanded one.
            let prompt = fixture.expected.prompts[2].token_ids.as_slice();
            let batch = vec![prompt; MANY.div_ceil(prompt.len())];
            is_taken.then(|| logits(&mut load(&compiled, 2), &batch, chunk).remove(1))
        };
        let Some(expanded) = run("expanded", None) else { continue };
        models += 1;
        for (form, chunk) in [("absorbed", None), ("absorbed", Some(3)), ("auto", None), ("auto", Some(5))] {
            let got = run(form, chunk).unwrap_or_else(|| panic!("{name} has no {form} form"));
            let apart = got.iter().zip(&expanded).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart <= 2e-5 * fixture.scale() as f32, "{name}, {form}, chunk {chunk:?}: {apart}");
            // To the bit where the step ran in the same form.
            assert_eq!(apart == 0.0, (form, chunk) == ("auto", None), "{name}, {form}, chunk {chunk:?}");
        }
    }
    assert!(models >= 4, "{models} models have latents");
}

/// Sums so long that kernels take them piece by piece, of lengths that no vector divides, on every path of the machine.
#[test]
fn long_sums_on_every_path() {
    for (hidden, intermediate) in [(4101, 37), (45, 5001)] {
        let home = tempfile::tempdir().unwrap();
        random_model(home.path(), hidden, intermediate);
        for compute in ["float32", "bfloat16"] {
            let compiled = compile_model(home.path(), compute, |options| options.block_size = Some(16));
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                let what = format!("[{hidden}, {intermediate}] {compute} by {}", isa.name());
                let model = |threads| {
                    let options =
                        LoadOptions { threads: Some(threads), isa: Some(isa), ..LoadOptions::default() };
                    Model::from_plan(through_bytes(&compiled.plan), Path::new(""), &options).unwrap()
                };
                let subject: Vec<u32> = (0..75).map(|at| at * 31 % VOCAB).collect();
                let expected = bits(&logits(&mut model(1), &[&subject], None)[0]);
                for threads in 1..=3 {
                    let mut model = model(threads);
                    for chunk in [Some(1), Some(5), Some(64), None] {
                        let got = bits(&logits(&mut model, &[&subject], chunk)[0]);
                        assert!(got == expected, "{what}: {threads} threads, chunk {chunk:?}");
                        let batch = [&subject[..70], &subject, &subject[..1], &subject[..9]];
                        let got = bits(&logits(&mut model, &batch, chunk)[1]);
                        assert!(got == expected, "{what}: in a batch, {threads} threads, chunk {chunk:?}");
                    }
                }
            }
        }
    }
}

const VOCAB: u32 = 97;

/// A model of one layer of these sizes, its weights drawn at random.
fn random_model(dir: &Path, hidden: usize, intermediate: usize) {
    let config = serde_json::json!({
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": 1,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "head_dim": 18,
        "vocab_size": VOCAB,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": true,
        "torch_dtype": "bfloat16",
    });
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let shapes = [
        ("embed_tokens", vec![VOCAB as usize, hidden]),
        ("layers.0.input_layernorm", vec![hidden]),
        ("layers.0.self_attn.q_proj", vec![54, hidden]),
        ("layers.0.self_attn.k_proj", vec![18, hidden]),
        ("layers.0.self_attn.v_proj", vec![18, hidden]),
        ("layers.0.self_attn.o_proj", vec![hidden, 54]),
        ("layers.0.post_attention_layernorm", vec![hidden]),
        ("layers.0.mlp.gate_proj", vec![intermediate, hidden]),
        ("layers.0.mlp.up_proj", vec![intermediate, hidden]),
        ("layers.0.mlp.down_proj", vec![hidden, intermediate]),
        ("norm", vec![hidden]),
    ];
    let mut state = 7u32;
    let mut draw = |count: usize| {
        let values = (0..count).flat_map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // A bf16 of either sign, between 1/64 and 1/32.
            let sign_exponent_mantissa = (state >> 16) & 0x807F | 0x3C80;
            (sign_exponent_mantissa as u16).to_le_bytes()
        });
        values.collect::<Vec<u8>>()
    };
    let data = shapes.map(|(name, shape)| {
        let bytes = draw(shape.iter().product());
        (format!("model.{name}.weight"), shape, bytes)
    });
    let views = data.iter().map(|(name, shape, bytes)| {
        (name.clone(), TensorView::new(Dtype::BF16, shape.clone(), bytes).unwrap())
    });
    let views: HashMap<String, TensorView<'_>> = views.collect();
    safetensors::serialize_to_file(&views, None, &dir.join("model.safetensors")).unwrap();
}
