//! What all functions of a trace share: the config's values, the stored tensors, the family.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use mscc_checkpoint::Checkpoint;
use mscc_ir::{DType, Template};

use super::TraceOptions;
use super::error::TraceError;
use super::scope::{Arguments, UsedWeight};
use super::warning::Warning;
use crate::blocks::{Param, ParamKind};
use crate::hf::{ConfigError, HfConfig, dtype_from_checkpoint};
use crate::spec::{Argument, Family, LAYER_INDEX, MAX_WORK, Place, Setting, Slot};

/// What all functions of a trace share.
pub(super) struct Context<'a> {
    pub family: &'a Family,
    pub config: &'a HfConfig,
    pub checkpoint: Option<&'a Checkpoint>,
    pub compute_dtype: DType,
    /// Type of the hidden states that layers add to.
    pub residual_dtype: DType,
    /// The type of tensors that are not there to tell.
    pub default_dtype: DType,
    pub block_size: u32,
    /// Longest sequence, in tokens.
    pub max_model_len: u32,
    settings: BTreeMap<&'a str, Setting>,
    /// What expressions may still cost.
    work: Cell<u64>,
    warnings: RefCell<Vec<Warning>>,
}

impl<'a> Context<'a> {
    /// Reads all keys that the family and its blocks use.
    pub fn new(
        family: &'a Family,
        config: &'a HfConfig,
        checkpoint: Option<&'a Checkpoint>,
        options: &TraceOptions,
    ) -> Result<Self, TraceError> {
        let mut settings = BTreeMap::new();
        for (key, default) in &family.config {
            settings.insert(key.as_str(), read(config, key, default)?);
        }
        for key in family.keys() {
            if !settings.contains_key(key) {
                settings.insert(key, read(config, key, &Setting::Null)?);
            }
        }
        let default_dtype = match config.dtype()? {
            // The default of the reference.
            None => DType::F32,
            Some(dtype) if is_weight_dtype(dtype) => dtype,
            Some(_) => {
                return Err(TraceError::Setting {
                    config: config.path().to_owned(),
                    keys: format!("`{}`", config.spelling("dtype")),
                    expected: "bfloat16, float16 or float32".to_owned(),
                    found: config.value("dtype")?.map_or(Setting::Null, Setting::from_json).to_string(),
                });
            }
        };
        let mut context = Context {
            family,
            config,
            checkpoint,
            compute_dtype: options.compute_dtype,
            residual_dtype: options.residual_dtype.unwrap_or(options.compute_dtype),
            default_dtype,
            block_size: options.block_size,
            max_model_len: 0,
            settings,
            work: Cell::new(MAX_WORK),
            warnings: RefCell::default(),
        };
        context.check_keys()?;
        let trained = context.trained()?;
        context.max_model_len = match options.max_model_len {
            Some(given) => given,
            None if trained <= MAX_TRAINED => trained,
            None => {
                let found = Setting::Int(i64::from(trained));
                let expected = format!("a size up to {MAX_TRAINED}");
                return Err(context.bad_setting(&family.max_model_len, None, found, expected));
            }
        };
        Ok(context)
    }

    /// Checks each parameter that is a key as it stands, before anything is computed of the key.
    fn check_keys(&self) -> Result<(), TraceError> {
        // A slot with alternatives need not be filled by this one.
        for filling in self.family.fillings().filter(|filling| filling.condition.is_none()) {
            for (param, argument) in filling.block.params.iter().zip(&filling.arguments) {
                if argument.expr.as_key().is_some_and(|key| key != LAYER_INDEX) {
                    self.typed(param, argument, None)?;
                }
            }
        }
        self.size(&self.family.layers.count)?;
        Ok(())
    }

    /// Notes what the user should know.
    pub fn warn(&self, warning: Warning) {
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// What has been noted.
    pub fn take_warnings(&self) -> Vec<Warning> {
        self.warnings.take()
    }

    /// Tokens that the model was trained for.
    pub fn trained(&self) -> Result<u32, TraceError> {
        self.size(&self.family.max_model_len)
    }

    /// Layers behind the last that checkpoints may hold.
    pub fn further_layers(&self) -> Result<u32, TraceError> {
        let Some(further) = &self.family.layers.further else { return Ok(0) };
        match self.eval(further, None)? {
            Setting::Null => Ok(0),
            Setting::Int(count @ 0..=MAX_SIZE) => Ok(count as u32),
            found => Err(self.bad_setting(further, None, found, "null or an integer from 0".to_owned())),
        }
    }

    /// The value of an expression.
    pub fn eval(&self, argument: &Argument, layer: Option<u32>) -> Result<Setting, TraceError> {
        argument.expr.eval(&self.lookup(layer), &self.work).map_err(|error| {
            let config = self.config.path().to_owned();
            let mut keys = self.keys_and_values(&argument.expr.sources(&self.lookup(layer)));
            if keys.is_empty() {
                keys = layer.map_or(format!("`{}`", argument.expr), |layer| format!("layer {layer}"));
            }
            let problem = TraceError::Expression { config, keys, problem: error.problem };
            self.located(problem, argument)
        })
    }

    /// The problem of an expression with its place in the family's file, where that may be the cause.
    fn located(&self, problem: TraceError, Argument { expr, place }: &Argument) -> TraceError {
        let (problem, file, place) = (Box::new(problem), self.family.file.clone(), *place);
        match self.family.is_builtin {
            true => *problem,
            false if expr.as_key().is_some() => TraceError::InFamily { problem, file, place },
            false => TraceError::Computed { file, place, expr: expr.to_string(), problem },
        }
    }

    fn lookup(&self, layer: Option<u32>) -> impl Fn(&str) -> Setting {
        move |key: &str| match (key, layer) {
            (LAYER_INDEX, Some(layer)) => Setting::Int(i64::from(layer)),
            _ => self.setting(key),
        }
    }

    /// The keys that the value of an expression comes from.
    pub fn sources<'e>(&self, argument: &'e Argument) -> Vec<&'e str> {
        argument.expr.sources(&self.lookup(None))
    }

    /// An expression that is a size.
    pub fn size(&self, argument: &Argument) -> Result<u32, TraceError> {
        match self.eval(argument, None)? {
            Setting::Int(size @ 1..=MAX_SIZE) => Ok(size as u32),
            found => Err(self.bad_setting(argument, None, found, ParamKind::Size.describe().to_owned())),
        }
    }

    /// An expression that is true or false.
    pub fn flag(&self, argument: &Argument, layer: Option<u32>) -> Result<bool, TraceError> {
        match self.eval(argument, layer)? {
            Setting::Bool(value) => Ok(value),
            Setting::Null => Ok(false),
            found => Err(self.bad_setting(argument, layer, found, ParamKind::Flag.describe().to_owned())),
        }
    }

    /// What fills a slot in a layer, and the values of its parameters.
    pub fn arguments(&self, slot: &Slot, layer: Option<u32>) -> Result<Arguments, TraceError> {
        let mut holds = None;
        for (at, filling) in slot.fillings.iter().enumerate() {
            let fills = match &filling.condition {
                None => true,
                Some(condition) => self.flag(condition, layer)?,
            };
            if fills {
                holds = Some((at, filling));
                break;
            }
        }
        let Some((filling_index, filling)) = holds else {
            let place = slot.fillings.first().map_or(Place::default(), |first| first.place);
            return Err(TraceError::Unfilled {
                config: self.config.path().to_owned(),
                file: format!("{}:{}:{}", self.family.file, place.line, place.column),
                slot: slot.name.clone(),
                layer,
            });
        };
        let mut values = Vec::with_capacity(filling.arguments.len());
        for (param, argument) in filling.block.params.iter().zip(&filling.arguments) {
            values.push(self.typed(param, argument, layer)?);
        }
        let tied_to = match &filling.tied_to {
            None => None,
            Some(argument) => match self.eval(argument, layer)? {
                Setting::Null => None,
                Setting::Str(path) => Some(path.as_ref().to_owned()),
                found => {
                    return Err(self.bad_setting(argument, layer, found, "a path or null".to_owned()));
                }
            },
        };
        Ok(Arguments { filling: filling_index, values, tied_to })
    }

    /// A factor of a step.
    pub fn factor(&self, argument: &Argument, layer: u32) -> Result<f64, TraceError> {
        let found = self.eval(argument, Some(layer))?;
        found.as_f64().ok_or_else(|| {
            self.bad_setting(argument, Some(layer), found, ParamKind::Number.describe().to_owned())
        })
    }

    fn typed(&self, param: &Param, argument: &Argument, layer: Option<u32>) -> Result<Setting, TraceError> {
        typed(param, self.eval(argument, layer)?)
            .map_err(|found| self.bad_setting(argument, layer, found, param.kind.describe().to_owned()))
    }

    /// Whether the checkpoint holds a tensor.
    pub fn is_stored(&self, path: &str, layer: Option<u32>) -> bool {
        let Some(checkpoint) = self.checkpoint else { return false };
        let name = Template::new(path).map(|template| template.member(0).render(index(layer)));
        name.is_ok_and(|name| checkpoint.tensor(&name).is_some())
    }

    /// The type in which a tensor is stored, or would be; that of a stack's first.
    pub fn stored_dtype(&self, name: &Template, layer: Option<u32>) -> DType {
        let name = name.member(0).render(index(layer));
        let stored = self.checkpoint.and_then(|checkpoint| checkpoint.tensor(&name));
        stored.and_then(|tensor| weight_dtype(&tensor.dtype)).unwrap_or(self.default_dtype)
    }

    /// The error for a value that makes no sense.
    pub fn bad_setting(
        &self,
        argument: &Argument,
        layer: Option<u32>,
        found: Setting,
        expected: String,
    ) -> TraceError {
        let expr = &argument.expr;
        let mut sources = expr.sources(&self.lookup(layer));
        sources.retain(|source| *source != LAYER_INDEX);
        let config = self.config.path().to_owned();
        let (keys, found) = match sources.as_slice() {
            [] if !self.family.is_builtin => {
                return self.located(TraceError::Constant { expected, found: found.to_string() }, argument);
            }
            [] => (format!("`{expr}`"), found.to_string()),
            [key] if self.setting(key) == found || self.setting(key).equals(&found) => {
                let found = match found {
                    Setting::Null => "nothing".to_owned(),
                    found if self.config.has(key) => found.to_string(),
                    default => format!("{default}, the default"),
                };
                (format!("`{}`", self.config.spelling(key)), found)
            }
            keys => (self.keys_and_values(keys), found.to_string()),
        };
        self.located(TraceError::Setting { config, keys, expected, found }, argument)
    }

    /// The error for a value that is not supported.
    pub fn unsupported(&self, argument: &Argument, layer: Option<u32>, supported: String) -> TraceError {
        let expr = &argument.expr;
        let keys = self.keys_and_values(&expr.sources(&self.lookup(layer)));
        let keys = if keys.is_empty() { format!("`{expr}`") } else { keys };
        self.located(self.unsupported_keys(keys, supported), argument)
    }

    /// The error for keys whose values are not supported.
    pub fn unsupported_keys(&self, keys: String, supported: String) -> TraceError {
        let (config, family) = (self.config.path().to_owned(), self.family.model_type.clone());
        TraceError::Unsupported { config, family, keys, supported }
    }

    /// Keys with their values, as a message says them; those without a value only if none has one.
    pub fn keys_and_values(&self, keys: &[&str]) -> String {
        let all_null = keys.iter().all(|key| self.setting(key) == Setting::Null);
        let keys = keys.iter().filter(|key| **key != LAYER_INDEX);
        let keys = keys.filter(|key| all_null || self.setting(key) != Setting::Null);
        let keys = keys.map(|key| format!("`{}` = {}", self.config.spelling(key), self.setting(key)));
        Vec::from_iter(keys).join(", ")
    }

    /// The error for more layers than any model has, or more of them that differ.
    pub fn too_large(&self, what: &'static str, limit: usize) -> TraceError {
        let keys = self.keys_and_values(&self.family.layers.count.expr.sources(&self.lookup(None)));
        TraceError::TooLarge { place: format!("{}: {keys}", self.config.path().display()), what, limit }
    }

    /// The error for layers that read too many tensors: names what decides how many layers there are, and how many
    /// members the largest stack of such a layer has.
    pub fn too_many_tensors(&self, slots: &[Arguments], weights: &[UsedWeight], limit: u64) -> TraceError {
        let mut keys = self.family.layers.count.expr.sources(&self.lookup(None));
        let members = weights.iter().map(|weight| weight.members().0).max().unwrap_or(1);
        let count = Setting::Int(i64::from(members));
        for (slot, given) in self.family.layers.slots.iter().zip(slots) {
            for (value, argument) in given.values.iter().zip(&given.of(slot).arguments) {
                if members > 1 && *value == count {
                    keys.extend(argument.expr.sources(&self.lookup(None)));
                }
            }
        }
        keys.dedup();
        TraceError::Setting {
            config: self.config.path().to_owned(),
            keys: self.keys_and_values(&keys),
            expected: format!("at most {limit} tensors in all layers"),
            found: "more".to_owned(),
        }
    }

    /// The value of a config key or its default.
    pub fn setting(&self, key: &str) -> Setting {
        self.settings.get(key).cloned().unwrap_or(Setting::Null)
    }
}

const MAX_SIZE: i64 = 1 << 31;

/// Longest sequence that a config may ask for on its own, in tokens.
const MAX_TRAINED: u32 = 1 << 26;

/// The type of a stored tensor, if it is one that weights may have.
pub(super) fn weight_dtype(stored: &mscc_checkpoint::DType) -> Option<DType> {
    dtype_from_checkpoint(stored).filter(|dtype| is_weight_dtype(*dtype))
}

fn is_weight_dtype(dtype: DType) -> bool {
    matches!(dtype, DType::F64 | DType::F32 | DType::F16 | DType::BF16)
}

fn index(layer: Option<u32>) -> i64 {
    layer.map_or(0, i64::from)
}

fn read(config: &HfConfig, key: &str, default: &Setting) -> Result<Setting, ConfigError> {
    Ok(match config.value(key)? {
        Some(value) => Setting::from_json(value),
        None if config.is_null(key) => Setting::Null,
        None => default.clone(),
    })
}

/// The value as its kind has it; the error is the value.
fn typed(param: &Param, value: Setting) -> Result<Setting, Setting> {
    match (param.kind, value) {
        (ParamKind::Flag, Setting::Null) => Ok(Setting::Bool(false)),
        (_, Setting::Null) if param.nullable => Ok(Setting::Null),
        (ParamKind::Size, value @ Setting::Int(1..=MAX_SIZE)) => Ok(value),
        (ParamKind::Number, Setting::Int(int)) => Ok(Setting::Float(int as f64)),
        (ParamKind::Number, value @ Setting::Float(_)) => Ok(value),
        (ParamKind::Flag, value @ Setting::Bool(_)) => Ok(value),
        (ParamKind::Text, value @ Setting::Str(_)) => Ok(value),
        (ParamKind::Numbers, Setting::List(items)) if items.iter().all(|item| item.as_f64().is_some()) => {
            Ok(Setting::List(items))
        }
        (_, value) => Err(value),
    }
}
