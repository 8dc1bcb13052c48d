//! What a weight stands for in a checkpoint: one tensor, or a stack of them.

use crate::{Template, TensorType};

/// Most tensors of a stack; far above the experts of any real model.
pub const MAX_MEMBERS: u32 = 1 << 16;

/// The tensors of a checkpoint that a weight is made of: the one of its name, or all members of a stack.
///
/// A weight whose name holds `{e}` is a stack: its axis 0 counts the tensors, of which number e has its number in that
/// place, and the other axes for its shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<'a> {
    name: &'a Template,
    members: Option<u32>,
    /// The type of each tensor.
    ty: TensorType,
}

impl<'a> Stored<'a> {
    /// The tensors of a weight of this name and type; `None` if it is a stack whose axis 0 is not a constant in
    /// 1..=[`MAX_MEMBERS`].
    pub fn new(name: &'a Template, ty: &TensorType) -> Option<Self> {
        if !name.is_stacked() {
            return Some(Stored { name, members: None, ty: ty.clone() });
        }
        let (count, shape) = ty.shape.split_first()?;
        let count = count.as_const().and_then(|count| u32::try_from(count).ok());
        let count = count.filter(|count| (1..=MAX_MEMBERS).contains(count))?;
        Some(Stored { name, members: Some(count), ty: TensorType::new(ty.dtype, shape) })
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.members.unwrap_or(1)
    }

    /// Whether they are the members of a stack, be it of one.
    pub fn is_stack(&self) -> bool {
        self.members.is_some()
    }

    /// The type of each.
    pub fn ty(&self) -> &TensorType {
        &self.ty
    }

    /// The name of tensor `e` at layer `layer`.
    pub fn name(&self, layer: i64, e: u32) -> String {
        self.name.member(e).render(layer)
    }

    /// The names of all at layer `layer`, in order, each made when it is asked for.
    pub fn names(&self, layer: i64) -> impl Iterator<Item = String> + use<'_> {
        (0..self.count()).map(move |e| self.name(layer, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Dim};

    #[test]
    fn a_stack_has_a_tensor_for_each_expert() {
        let ty = |shape: &[i64]| {
            TensorType::new(DType::BF16, shape.iter().map(|size| Dim::constant(*size)).collect::<Vec<_>>())
        };
        let name = Template::new("l.{i-1}.e.{e}.w").unwrap();
        let stack = ty(&[3, 4, 8]);
        let stored = Stored::new(&name, &stack).unwrap();
        assert_eq!((stored.count(), stored.is_stack(), stored.ty()), (3, true, &ty(&[4, 8])));
        assert_eq!(stored.names(6).collect::<Vec<_>>(), ["l.5.e.0.w", "l.5.e.1.w", "l.5.e.2.w"]);
        let single = Template::new("l.{i}.w").unwrap();
        let stored = Stored::new(&single, &stack).unwrap();
        assert_eq!((stored.count(), stored.is_stack(), stored.ty()), (1, false, &stack));
        assert_eq!(stored.names(2).collect::<Vec<_>>(), ["l.2.w"]);
    }

    #[test]
    fn stacks_are_bounded() {
        let name = Template::new("e.{e}").unwrap();
        let count =
            |count: Dim| Stored::new(&name, &TensorType::new(DType::F32, [count])).map(|it| it.count());
        assert_eq!(count(Dim::constant(i64::from(MAX_MEMBERS))), Some(MAX_MEMBERS));
        for bad in [Dim::ZERO, Dim::constant(-1), Dim::constant(i64::from(MAX_MEMBERS) + 1), Dim::symbol("T")]
        {
            assert_eq!(count(bad), None);
        }
        assert!(Stored::new(&name, &TensorType::new(DType::F32, [])).is_none());
    }
}
