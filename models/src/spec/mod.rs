//! How a family of models is described: slots filled by blocks, with parameters from the config.
//!
//! The file of a family has these keys. Values that are *expressions* are read as [`Expr`] tells.
//!
//! | key             | value                                                                            |
//! |-----------------|----------------------------------------------------------------------------------|
//! | `model_type`    | the `model_type` of its configs                                                  |
//! | `architectures` | list of class names that its configs may give                                    |
//! | `config`        | the config keys that the file uses, each with the default of the reference's config class, which stands in for a missing key (a `null` in the config stays null) |
//! | `ignore`        | for a config key that changes nothing in these models, the reason                |
//! | `requires`      | for a config key: `that`, an expression that must hold, and `supported`, what the message says is supported |
//! | `max_model_len` | expression: tokens that the model was trained for                                |
//! | `embed_tokens`  | slot: token ids to hidden states                                                 |
//! | `rotary_emb`    | slot: positions to cosines and sines; or a mapping of names to such slots, for models that rotate by several tables |
//! | `layers`        | `at`, the path of layer `{i}`; `count`, an expression; `further`, how many layers checkpoints may hold behind them that plain decoding leaves out; `slots`; `steps` |
//! | `norm`, `lm_head` | slots: hidden states to hidden states, and to logits                           |
//! | `skip`          | for a pattern (`*` for anything) of stored tensors that are not read, the reason; some are known for all families |
//!
//! `steps` says what a layer computes: names with values made of `hidden_states`, earlier names, calls
//! of slots, sums, and products with an expression on the right. The last step is the layer's output.
//!
//! A slot says its `block` and values for the block's parameters, which are expressions, and may say:
//!
//! | key        | value                                                                        |
//! |------------|------------------------------------------------------------------------------|
//! | `at`       | path of its weights: whole, or within the layer. In a layer, its name if not given |
//! | `names`    | for a module inside the block, the name that it has in checkpoints           |
//! | `tied_to`  | expression: null, or the path whose weights it shares when it has none stored |
//! | `if`       | expression: whether the slot is filled so; see below                         |
//!
//! A slot may also be a list of such mappings: the first whose `if` holds, or that has none, fills it. So the first
//! layers of a mixture of experts can be dense.
//!
//! A layer's parameters may use `i`; layers whose parameters come out equal are one kind.

mod expr;
mod expr_eval;
mod expr_parse;
mod family;
mod setting;
mod steps;
mod yaml;

pub use expr::{Expr, ExprError, ExprProblem};
pub use expr_eval::MAX_WORK;
#[cfg(test)]
pub(crate) use family::KEYS;
pub use family::{Argument, Family, Filling, Layers, Requirement, Slot};
pub(crate) use family::{LAYER_INDEX, ROTARY_EMB};
pub use setting::Setting;
pub use steps::{Flow, Step};
pub use yaml::{Content, FamilyError, FamilyProblem, Map, Place, Yaml};
