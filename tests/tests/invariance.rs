//! Logits do not depend on threads, chunks, batch mates or the size of cache pages: not by a bit.
#![allow(clippy::unwrap_used)]

use mscc_tests::{FIXTURES, Fixture, bits, compile_model, load, logits};

#[test]
fn threads_chunks_batch_mates_and_block_sizes() {
    for name in FIXTURES {
        for compute in ["float32", "bfloat16"] {
            check(name, compute);
        }
    }
}

fn check(name: &str, compute: &str) {
    let fixture = Fixture::open(name);
    let prompts: Vec<&[u32]> =
        fixture.expected.prompts.iter().map(|prompt| prompt.token_ids.as_slice()).collect();
    let subject = prompts[2];
    let compiled = compile_model(&fixture.dir, compute, |_| {});
    let mut model = load(&compiled, 1);
    let expected = bits(&logits(&mut model, &[subject], None)[0]);
    for chunk in [1, 3, 7] {
        let got = bits(&logits(&mut model, &[subject], Some(chunk))[0]);
        assert!(got == expected, "{name} {compute}: chunk {chunk}");
    }
    for threads in [2, 3] {
        let mut model = load(&compiled, threads);
        let got = bits(&logits(&mut model, &[subject], None)[0]);
        assert!(got == expected, "{name} {compute}: {threads} threads");
        // Five others of different lengths, before and behind it.
        let batch = [prompts[0], &subject[..9], prompts[1], subject, &subject[..1], &prompts[1][..4]];
        for chunk in [None, Some(4)] {
            let got = bits(&logits(&mut model, &batch, chunk)[3]);
            assert!(got == expected, "{name} {compute}: in a batch, {threads} threads, chunk {chunk:?}");
        }
    }
    for block_size in [1, 3, 16, 128] {
        let compiled = compile_model(&fixture.dir, compute, |options| options.block_size = Some(block_size));
        let got = bits(&logits(&mut load(&compiled, 2), &[subject], Some(5))[0]);
        assert!(got == expected, "{name} {compute}: block size {block_size}");
    }
}
