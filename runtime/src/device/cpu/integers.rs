//! Orders, counts and quotients of integers.

use mscc_ir::DType;

use super::error::KernelError;
use super::isa::Isa;
use super::kernel::{Check, Kernel, Split};
use super::pick::index;
use super::pool::{Scratch, TaskResult};
use super::view::View;

/// The permutation that sorts `keys` in ascending order, equal ones as they stand.
///
/// | value  | shape | dtype        |
/// |--------|-------|--------------|
/// | `keys` | `[M]`   | i32; gapless |
/// | -> `y` | `[M]`   | i32; gapless |
pub struct Argsort<'a> {
    /// Operand.
    pub keys: &'a View,
    /// Result.
    pub y: &'a View,
}

/// `y[e]` is how many of `ids` are `e`.
///
/// | value  | shape | dtype        |
/// |--------|-------|--------------|
/// | `ids`  | [..]  | i32; gapless |
/// | -> `y` | `[E]`   | i32; gapless |
///
/// Errors: [`KernelError::Index`] for an id that is not below E.
pub struct Bincount<'a> {
    /// Operand.
    pub ids: &'a View,
    /// Result.
    pub y: &'a View,
}

/// `y = floor(x / by)`.
///
/// | value  | shape | dtype        |
/// |--------|-------|--------------|
/// | `x`    | [..]  | i32; gapless |
/// | -> `y` | [..]  | i32; gapless |
pub struct FloorDiv<'a> {
    /// Operand.
    pub x: &'a View,
    /// The divisor, not 0.
    pub by: u32,
    /// Result.
    pub y: &'a View,
}

/// Checks that both are gapless and i32.
fn check_pair(kernel: &'static str, name: &'static str, x: &View, y: &View) -> Result<(), KernelError> {
    let check = Check(kernel);
    check.dtypes(x.dtype() == DType::I32 && y.dtype() == DType::I32, &[x, y])?;
    check.gapless(name, x)?;
    check.gapless("y", y)
}

/// The elements of a gapless view of i32.
///
/// # Safety
/// The view is that, and nobody writes to it meanwhile.
unsafe fn ints(view: &View) -> &[i32] {
    if view.is_empty() { &[] } else { std::slice::from_raw_parts(view.as_ptr(), view.len()) }
}

/// As [`ints`], to write.
///
/// # Safety
/// The view is that, and nobody else touches it meanwhile.
#[expect(clippy::mut_from_ref, reason = "a view is an address, whose memory the kernel owns while it runs")]
unsafe fn ints_mut(view: &View) -> &mut [i32] {
    if view.is_empty() { &mut [] } else { std::slice::from_raw_parts_mut(view.as_ptr(), view.len()) }
}

impl Kernel for Argsort<'_> {
    fn check(&self) -> Result<(), KernelError> {
        check_pair("argsort", "keys", self.keys, self.y)?;
        Check("argsort").shape("keys", self.keys, self.keys.rank() == 1, "[M]")?;
        Check("argsort").dims("y", self.y, self.keys.dims(), "those of keys")
    }

    fn split(&self, _: usize) -> Split {
        Split { tasks: 1, ..Split::default() }
    }

    unsafe fn run(&self, _: Isa, _: Split, _: usize, _: &mut Scratch) -> TaskResult {
        let (keys, y) = (ints(self.keys), ints_mut(self.y));
        y.iter_mut().enumerate().for_each(|(at, y)| *y = at as i32);
        // The place breaks ties, so an unstable sort, which takes no memory, is as good as a stable one.
        y.sort_unstable_by_key(|at| (keys[*at as usize], *at));
        Ok(())
    }
}

impl Kernel for Bincount<'_> {
    fn check(&self) -> Result<(), KernelError> {
        check_pair("bincount", "ids", self.ids, self.y)?;
        Check("bincount").shape("y", self.y, self.y.rank() == 1, "[E]")
    }

    fn split(&self, _: usize) -> Split {
        Split { tasks: 1, ..Split::default() }
    }

    unsafe fn run(&self, _: Isa, _: Split, _: usize, _: &mut Scratch) -> TaskResult {
        let counts = ints_mut(self.y);
        counts.fill(0);
        for (position, id) in ints(self.ids).iter().enumerate() {
            counts[index("bincount", "ids", position, *id, self.y.len())?] += 1;
        }
        Ok(())
    }
}

impl Kernel for FloorDiv<'_> {
    fn check(&self) -> Result<(), KernelError> {
        check_pair("floor_div", "x", self.x, self.y)?;
        if self.by == 0 {
            return Err(KernelError::Attribute { kernel: "floor_div", attribute: "by" });
        }
        Check("floor_div").dims("y", self.y, self.x.dims(), "those of x")
    }

    fn split(&self, threads: usize) -> Split {
        Split::even(self.x.len(), 8, threads)
    }

    unsafe fn run(&self, _: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        let (x, by) = (ints(self.x), i64::from(self.by));
        for at in split.range(task, x.len()) {
            *self.y.as_ptr::<i32>().add(at) = i64::from(x[at]).div_euclid(by) as i32;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Random, Tensor, run};
    use super::super::{Pool, launch};
    use super::*;

    #[test]
    fn the_order_is_that_of_a_stable_sort() {
        let mut random = Random::new(7);
        for len in [0, 1, 1000] {
            let keys: Vec<f64> = (0..len).map(|_| (random.bits() % 19) as f64 - 9.0).collect();
            let (x, y) = (Tensor::zeros(DType::I32, &[len]).of(&keys), Tensor::zeros(DType::I32, &[len]));
            run(Isa::Portable, 2, &Argsort { keys: &x.view(), y: &y.view() });
            let mut order: Vec<usize> = (0..len).collect();
            order.sort_by(|a, b| keys[*a].total_cmp(&keys[*b]));
            assert_eq!(y.get(), order.iter().map(|at| *at as f64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn ids_beyond_are_refused_and_quotients_are_floors() {
        let counts = Tensor::zeros(DType::I32, &[3]).of(&[9.0; 3]);
        let count = |ids: &[f64]| {
            let ids = Tensor::zeros(DType::I32, &[ids.len()]).of(ids);
            launch(&mut Pool::new(1), Isa::Portable, &Bincount { ids: &ids.view(), y: &counts.view() })
        };
        count(&[2.0, 0.0, 2.0]).unwrap();
        assert_eq!(counts.get(), [1.0, 0.0, 2.0]);
        for bad in [3.0, -1.0] {
            assert!(matches!(count(&[0.0, bad]), Err(KernelError::Index { position: 1, limit: 3, .. })));
        }
        let (x, y) =
            (Tensor::zeros(DType::I32, &[4]).of(&[-1.0, 0.0, 5.0, 6.0]), Tensor::zeros(DType::I32, &[4]));
        run(Isa::Portable, 2, &FloorDiv { x: &x.view(), by: 3, y: &y.view() });
        assert_eq!(y.get(), [-1.0, 0.0, 1.0, 2.0]);
    }
}
