//! What an op costs on a target, in whole picoseconds.
//!
//! A roofline: an execution takes as long as its bytes or its arithmetic, whichever is longer, and one launch.
//! Integers throughout, so that the same plan comes out on every machine.

use mscc_ir::dim::DimError;
use mscc_ir::kernels::ascend::Soc;
use mscc_ir::ops::{Op, OpKind};
use mscc_ir::view::ViewLayout;
use mscc_ir::{DType, Symbol, TensorType};

const PS_PER_SECOND: u128 = 1_000_000_000_000;

/// A device as the compiler sees it: what it can run and what that costs.
pub trait Target {
    /// Whether there is a kernel for `op` with operands of these types.
    fn supports(&self, op: &Op, operands: &[TensorType]) -> bool;

    /// What ops cost.
    fn cost_model(&self) -> &CostModel;
}

/// The figures of a roofline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostModel {
    /// What it is measured on or derived from.
    pub name: String,
    /// Memory bandwidth, bytes per second, as large kernels reach it.
    pub bytes_per_second: u64,
    /// Arithmetic on f32 and wider, operations per second, a multiply-add counting two.
    pub f32_flops_per_second: u64,
    /// Arithmetic on f16 and bf16, operations per second.
    pub half_flops_per_second: u64,
    /// Arithmetic on 8-bit and narrower types, operations per second.
    pub byte_flops_per_second: u64,
    /// Arithmetic of all but matrix products and attention, operations per second, where other units do it.
    pub vector_flops_per_second: Option<u64>,
    /// Matrix products count sizes rounded up to a multiple of this.
    pub block: i64,
    /// What every launch costs beside its work, picoseconds.
    pub launch_ps: u64,
    /// Whether kernels read and write operands that are not densely packed, so that views never cost a copy.
    pub strided_operands: bool,
}

/// What one execution of an op costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpCost {
    /// Time, picoseconds.
    pub ps: u64,
    /// Kernel launches.
    pub launches: u32,
    /// Bytes read and written.
    pub bytes: u64,
}

impl CostModel {
    /// A host of a dozen cores with AVX2: the default until a measured profile takes its place.
    ///
    /// 20 GB/s are two channels of DDR4 as a copy reaches them; bf16 is widened to f32 and so gains no arithmetic;
    /// a launch wakes the worker pool.
    pub fn cpu() -> Self {
        CostModel {
            name: "cpu".to_owned(),
            bytes_per_second: 20_000_000_000,
            f32_flops_per_second: 400_000_000_000,
            half_flops_per_second: 400_000_000_000,
            byte_flops_per_second: 800_000_000_000,
            vector_flops_per_second: None,
            block: 1,
            launch_ps: 2_000_000,
            strided_operands: true,
        }
    }

    /// An NPU, derived from its platform file and quoted bandwidths: 0.7 of the cube cores' peak, 0.8 of the memory's
    /// bandwidth. f32 products are taken to run at a quarter of the rate of f16; a launch costs the host as much as
    /// documents say of a call whose first phase is cached. Not measured.
    pub fn ascend(soc: &Soc) -> Self {
        let cube = soc.half_gflops() * 1_000_000_000 / 10 * 7;
        CostModel {
            name: soc.target.to_owned(),
            bytes_per_second: u64::from(soc.memory_gb_s) * 800_000_000,
            f32_flops_per_second: cube / 4,
            half_flops_per_second: cube,
            byte_flops_per_second: 2 * cube,
            vector_flops_per_second: Some(soc.vector_gflops() * 1_000_000_000),
            block: 16,
            launch_ps: 5_000_000,
            strided_operands: false,
        }
    }

    /// The cost of `op` at the given sizes.
    ///
    /// Errors: a size that the ops' work depends on is unknown or does not fit 64 bits.
    pub fn op_cost(
        &self,
        op: &Op,
        operands: &[TensorType],
        results: &[TensorType],
        sizes: &dyn Fn(&Symbol) -> Option<i64>,
    ) -> Result<OpCost, DimError> {
        if self.is_free(op, operands, results) {
            return Ok(OpCost::default());
        }
        let work = op.work(operands, results);
        let product = is_product(op.kind());
        let read = size(work.read_bytes.eval(sizes)?);
        let bytes = read.saturating_add(size(work.written_bytes.eval(sizes)?));
        let moving = self.moving_ps(bytes);
        let flops = if product && self.block > 1 {
            let blocks = |types: &[TensorType]| types.iter().map(|ty| self.in_blocks(ty)).collect::<Vec<_>>();
            op.work(&blocks(operands), &blocks(results)).flops
        } else {
            work.flops
        };
        let flops = u128::from(size(flops.eval(sizes)?));
        let peak = self.vector_flops_per_second.filter(|_| !product).unwrap_or_else(|| self.peak(operands));
        let computing = flops * PS_PER_SECOND / u128::from(peak.max(1));
        let ps = moving.max(computing) + u128::from(self.launch_ps);
        Ok(OpCost { ps: u64::try_from(ps).unwrap_or(u64::MAX), launches: 1, bytes })
    }

    /// The time that moving `bytes` takes, picoseconds.
    pub fn moving_ps(&self, bytes: u64) -> u128 {
        u128::from(bytes) * PS_PER_SECOND / u128::from(self.bytes_per_second.max(1))
    }

    /// Whether the op moves nothing here: it is a view, and its users take what it gives.
    fn is_free(&self, op: &Op, operands: &[TensorType], results: &[TensorType]) -> bool {
        let Some(operand) = operands.first().filter(|_| op.kind().is_view()) else { return false };
        match op.views(&ViewLayout::contiguous(&operand.shape), results) {
            Some(views) => self.strided_operands || views.iter().all(ViewLayout::is_contiguous),
            None => false,
        }
    }

    /// The type with its two last axes filled up to whole blocks.
    fn in_blocks(&self, ty: &TensorType) -> TensorType {
        let mut shape = ty.shape.to_vec();
        let rank = shape.len();
        shape[rank.saturating_sub(2)..].iter_mut().for_each(|size| *size = size.round_up(self.block));
        TensorType::new(ty.dtype, shape)
    }

    /// Arithmetic as wide as the first operand.
    fn peak(&self, operands: &[TensorType]) -> u64 {
        match operands.first().map_or(DType::F32, |ty| ty.dtype) {
            DType::F64 | DType::F32 | DType::I64 | DType::I32 => self.f32_flops_per_second,
            DType::F16 | DType::BF16 => self.half_flops_per_second,
            DType::F8E4M3 | DType::I8 | DType::U8 | DType::I4 | DType::Bool => self.byte_flops_per_second,
        }
    }
}

/// Whether the op is done where matrices are multiplied.
fn is_product(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Matmul
            | OpKind::Linear
            | OpKind::GroupedMatmul
            | OpKind::Attention
            | OpKind::LatentAttention
            | OpKind::RaggedAttention
            | OpKind::TokenAttention
            | OpKind::TransposeBatchMatmul
            | OpKind::MlaProlog
    )
}

/// A size that is negative by mistake counts as none.
fn size(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mscc_ir::Dim;
    use mscc_ir::attr::Attr;
    use mscc_ir::ops::{Add, Split};

    fn at(tokens: i64) -> impl Fn(&Symbol) -> Option<i64> {
        move |symbol| (symbol.name() == "T").then_some(tokens)
    }

    fn ty(shape: &[&str]) -> TensorType {
        TensorType::new(DType::F32, shape.iter().map(|dim| dim.parse().unwrap()).collect::<Vec<Dim>>())
    }

    fn cost(model: &CostModel, op: &Op, operands: &[TensorType], tokens: i64) -> OpCost {
        let results = op.infer(operands).unwrap();
        model.op_cost(op, operands, &results, &at(tokens)).unwrap()
    }

    #[test]
    fn bound_by_memory_or_by_arithmetic() {
        let model = CostModel::cpu();
        let add = cost(&model, &Op::Add(Add), &[ty(&["T", "1000"]), ty(&["T", "1000"])], 10);
        // 120 kB at 20 GB/s are 6 microseconds.
        assert_eq!(add, OpCost { ps: 6_000_000 + 2_000_000, launches: 1, bytes: 120_000 });
        let matmul = OpKind::Matmul.with_attrs(&[("trans_b".to_owned(), Attr::Bool(true))]).unwrap();
        let operands = [ty(&["T", "1000"]), ty(&["1000", "1000"])];
        assert_eq!(cost(&model, &matmul, &operands, 1).ps, 4_008_000 * 50 + 2_000_000);
        assert_eq!(cost(&model, &matmul, &operands, 1000).ps, 2_000_000_000 * 5 / 2 + 2_000_000);
    }

    #[test]
    fn views_are_free_where_their_users_take_strides() {
        let inner = Op::Split(Split { axis: -1, sizes: vec![Dim::constant(4), Dim::constant(4)] });
        let outer = Op::Split(Split { axis: 0, sizes: vec![Dim::constant(4), "T-4".parse().unwrap()] });
        let (x, ascend) = ([ty(&["T", "8"])], CostModel::ascend(Soc::by_target("ascend910b1").unwrap()));
        assert_eq!(cost(&CostModel::cpu(), &inner, &x, 8), OpCost::default());
        assert_eq!(cost(&ascend, &outer, &x, 8), OpCost::default());
        assert_eq!(cost(&ascend, &inner, &x, 8).bytes, 2 * 8 * 8 * 4);
    }

    #[test]
    fn unknown_sizes_are_errors() {
        let operands = [ty(&["T", "8"]), ty(&["T", "8"])];
        let results = Op::Add(Add).infer(&operands).unwrap();
        let error = CostModel::cpu().op_cost(&Op::Add(Add), &operands, &results, &|_| None);
        assert_eq!(error, Err(DimError::Unbound(Symbol::new("T"))));
    }
}
