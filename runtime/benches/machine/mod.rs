//! What this machine can do at best, measured with the threads of a pool.
#![allow(dead_code, unsafe_code, reason = "shared by benches; vector instructions")]
#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::*;
use std::hint::black_box;

use mscc_runtime::device::cpu::Pool;

const ROUNDS: usize = 200_000;
const CHAINS: usize = 24;

/// Whether the measures run here.
pub fn is_measurable() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

/// Whether the machine multiplies pairs of bf16.
pub fn has_pairs() -> bool {
    is_x86_feature_detected!("avx512bf16")
}

/// FLOPs of one call of [`multiply`].
pub fn flops(threads: usize, pairs: bool) -> f64 {
    (threads * ROUNDS * CHAINS * 16 * 2 * if pairs { 2 } else { 1 }) as f64
}

/// Multiplies and adds without touching memory, f32 or `pairs` of bf16, on all threads.
pub fn multiply(pool: &mut Pool, pairs: bool) {
    assert!(is_measurable() && (has_pairs() || !pairs));
    let task = |_: usize, _: &mut _| {
        // SAFETY: the features were just found.
        unsafe { if pairs { fma_bf16() } else { fma_f32() } };
        Ok(())
    };
    pool.run(pool.threads(), &task).expect("runs");
}

/// Memory that no cache holds.
pub fn memory() -> Vec<u32> {
    (0..64 << 20).collect()
}

/// Bytes that [`read`] reads.
pub fn read_bytes(memory: &[u32], threads: usize) -> f64 {
    (part(memory, threads) * threads * PARTS * 4) as f64
}

/// Reads memory once, on all threads.
pub fn read(pool: &mut Pool, memory: &[u32]) {
    assert!(is_measurable());
    let part = part(memory, pool.threads());
    let task = |i: usize, _: &mut _| {
        // SAFETY: the features were just found.
        unsafe { add_up(&memory[i * part..(i + 1) * part]) };
        Ok(())
    };
    pool.run(pool.threads() * PARTS, &task).expect("runs");
}

/// Tasks of a thread.
const PARTS: usize = 16;
/// Places of a part that are read in turns, as by a kernel that takes several rows at once.
const STREAMS: usize = 4;

fn part(memory: &[u32], threads: usize) -> usize {
    memory.len() / threads / PARTS
}

#[target_feature(enable = "avx512f")]
fn fma_f32() {
    let mut sums = [_mm512_set1_ps(black_box(0.0)); CHAINS];
    let (a, b) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(0.25)));
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(a, b, *sum);
        }
    }
    black_box(sums);
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn fma_bf16() {
    let mut sums = [_mm512_set1_ps(black_box(0.0)); CHAINS];
    let (a, b) = (_mm512_set1_epi32(black_box(0x3c00_3c00)), _mm512_set1_epi32(black_box(0x3d00_3d00)));
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            // SAFETY: both are plain 512-bit vectors.
            let pairs = |v| unsafe { std::mem::transmute::<__m512i, __m512bh>(v) };
            *sum = _mm512_dpbf16_ps(*sum, pairs(a), pairs(b));
        }
    }
    black_box(sums);
}

#[target_feature(enable = "avx512f")]
fn add_up(words: &[u32]) {
    const AHEAD: usize = 1024;
    let mut sums = [_mm512_setzero_si512(); STREAMS];
    let len = words.len() / STREAMS / 16 * 16;
    for at in (0..len).step_by(16) {
        for (stream, sum) in sums.iter_mut().enumerate() {
            let p = words[stream * len + at..][..16].as_ptr();
            _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(AHEAD).cast());
            // SAFETY: these are sixteen words.
            *sum = _mm512_add_epi32(*sum, unsafe { _mm512_loadu_si512(p.cast()) });
        }
    }
    black_box(sums);
}
