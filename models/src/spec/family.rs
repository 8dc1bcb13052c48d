//! A family of models, as its file describes it.

use mscc_ir::Template;

use super::expr::Expr;
use super::setting::Setting;
use super::steps::{self, Step};
use super::yaml::{Content, FamilyError, FamilyProblem, Located, Map, Place, Yaml};
use crate::blocks::{self, Block, Interface, Param};

/// A family of models: which blocks stand where, with which parameters, and how tensors are called.
#[derive(Clone, Debug)]
pub struct Family {
    /// The file it was read from, for messages.
    pub file: String,
    /// Whether it comes with mscc: what does not fit is then a matter of the config alone.
    pub is_builtin: bool,
    /// The `model_type` of its configs.
    pub model_type: String,
    /// Class names that its configs may give.
    pub architectures: Vec<String>,
    /// Config keys it uses and what stands in for missing ones.
    pub config: Vec<(String, Setting)>,
    /// Config keys that change nothing in these models, and why.
    pub ignore: Vec<(String, String)>,
    /// What must hold of a config.
    pub requires: Vec<Requirement>,
    /// Tokens that the model was trained for.
    pub max_model_len: Argument,
    /// Token ids to hidden states.
    pub embed_tokens: Slot,
    /// Positions to cosines and sines: a slot for each kind of table.
    pub rotary_emb: Vec<Slot>,
    /// The layers.
    pub layers: Layers,
    /// Hidden states to hidden states, after all layers.
    pub norm: Slot,
    /// Hidden states to logits.
    pub lm_head: Slot,
    /// Patterns of stored tensors that are not read, and why.
    pub skip: Vec<(String, String)>,
}

/// The layers of a family.
#[derive(Clone, Debug)]
pub struct Layers {
    /// Path of layer `{i}`.
    pub at: Template,
    /// How many there are.
    pub count: Argument,
    /// How many more checkpoints hold that predict further tokens, which plain decoding leaves out.
    pub further: Option<Argument>,
    /// Blocks of a layer.
    pub slots: Vec<Slot>,
    /// What a layer computes; the last is its output.
    pub steps: Vec<Step>,
    /// Factors that steps multiply values by.
    pub factors: Vec<Argument>,
}

/// A condition on a config.
#[derive(Clone, Debug)]
pub struct Requirement {
    /// The key it is about.
    pub key: String,
    /// What must hold.
    pub that: Argument,
    /// What is supported, for the message.
    pub supported: String,
}

/// A place for a block.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// What may fill it; the first whose condition holds does. Not empty.
    pub fillings: Vec<Filling>,
}

/// A block in a slot.
#[derive(Clone, Debug)]
pub struct Filling {
    /// The slot's name.
    pub slot: String,
    /// When it fills the slot; always if there is no condition.
    pub condition: Option<Argument>,
    /// Where it stands in the file.
    pub place: Place,
    /// What fills it.
    pub block: &'static Block,
    /// Values for the block's parameters, in their order.
    pub arguments: Vec<Argument>,
    /// Path of its modules; within the layer, if it is a layer's.
    pub at: String,
    /// Names of the block's modules and what checkpoints call them.
    pub names: Vec<(String, String)>,
    /// The path whose weights it shares when it has none of its own, or null.
    pub tied_to: Option<Argument>,
}

/// An expression and where it stands in the file.
#[derive(Clone, Debug)]
pub struct Argument {
    /// The expression.
    pub expr: Expr,
    /// Its place.
    pub place: Place,
}

/// Index of the layer in expressions.
pub(crate) const LAYER_INDEX: &str = "i";

impl Family {
    /// Reads a family from the text of its file.
    ///
    /// Errors: YAML that is none; keys, blocks, parameters or names that do not exist or are missing;
    /// broken expressions. Each says where.
    pub fn parse(file: &str, text: &str) -> Result<Family, FamilyError> {
        Family::read(file, text).map_err(|(place, problem)| FamilyError {
            file: file.to_owned(),
            place,
            problem: Box::new(problem),
        })
    }

    fn read(file: &str, text: &str) -> Located<Family> {
        let root = Yaml::parse(text)?;
        let map = root.map()?;
        map.only(&[
            "model_type",
            "architectures",
            "config",
            "ignore",
            "requires",
            "max_model_len",
            "embed_tokens",
            "rotary_emb",
            "layers",
            "norm",
            "lm_head",
            "skip",
        ])?;
        let mut config = Vec::new();
        for (key, _, default) in &map.require("config")?.map()?.entries {
            config.push((key.clone(), default.literal()?));
        }
        let reader = Reader { config: &config, in_layer: false, table: None };
        let layers = map.require("layers")?.map()?;
        Ok(Family {
            file: file.to_owned(),
            is_builtin: false,
            model_type: map.require("model_type")?.str()?.to_owned(),
            architectures: map.require("architectures")?.strs()?,
            ignore: map.get("ignore").map_or(Ok(Vec::new()), reasons)?,
            requires: map.get("requires").map_or(Ok(Vec::new()), |requires| reader.requires(requires))?,
            max_model_len: reader.argument(map.require("max_model_len")?)?,
            embed_tokens: reader.slot("embed_tokens", map, Interface::Tokens)?,
            rotary_emb: reader.rotary_emb(map)?,
            layers: reader.layers(layers)?,
            norm: reader.slot("norm", map, Interface::Hidden)?,
            lm_head: reader.slot("lm_head", map, Interface::Hidden)?,
            skip: map.get("skip").map_or(Ok(Vec::new()), reasons)?,
            config,
        })
    }

    /// The config keys that it reads: those that it lists, and those that its blocks read on their own.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let listed = self.config.iter().map(|(key, _)| key.as_str());
        let mut own = Vec::new();
        for argument in self.fillings().flat_map(|filling| &filling.arguments) {
            argument.expr.keys(&mut |key| {
                if key != LAYER_INDEX {
                    own.push(key);
                }
            });
        }
        listed.chain(own)
    }

    /// What may fill any slot, those of a layer once.
    pub fn fillings(&self) -> impl Iterator<Item = &Filling> {
        let ends = [&self.embed_tokens, &self.norm, &self.lm_head].into_iter();
        ends.chain(&self.rotary_emb).chain(&self.layers.slots).flat_map(|slot| &slot.fillings)
    }
}

impl Filling {
    /// The parameters that need no value and yet have one of the family's, which is what is special about it.
    pub fn options(&self) -> impl Iterator<Item = &'static str> {
        let params = self.block.params.iter().zip(&self.arguments);
        let special = params
            .filter(|(param, argument)| param.default.is_some_and(|default| argument.expr.text() != default));
        special.map(|(param, _)| param.name)
    }
}

impl Layers {
    /// Where a step stands in the file.
    pub(crate) fn place(&self, step: &str) -> Place {
        self.steps.iter().find(|other| other.name == step).map_or(Place::default(), |step| step.place)
    }

    /// Whether a parameter depends on the layer.
    pub fn vary(&self) -> bool {
        let mut vary = false;
        let fillings = self.slots.iter().flat_map(|slot| &slot.fillings);
        let arguments = fillings
            .flat_map(|filling| filling.condition.iter().chain(&filling.arguments).chain(&filling.tied_to));
        for argument in arguments.chain(&self.factors) {
            argument.expr.keys(&mut |key| vary |= key == LAYER_INDEX);
        }
        vary
    }
}

/// Keys of a slot that are no parameters of its block.
pub(crate) const KEYS: [&str; 5] = ["if", "block", "at", "names", "tied_to"];

/// The key of tables of cosines and sines, and the name of the only one.
pub(crate) const ROTARY_EMB: &str = "rotary_emb";

/// The object of configs whose keys say how to rotate: for all layers, or in an object for each table.
const ROPE_PARAMETERS: &str = "rope_parameters";

/// Reads parts of a family's file.
pub(super) struct Reader<'a> {
    config: &'a [(String, Setting)],
    /// Whether expressions may use the index of the layer.
    in_layer: bool,
    /// The name of the table of cosines and sines that is read, of those that have names.
    table: Option<&'a str>,
}

impl Reader<'_> {
    fn requires(&self, requires: &Yaml) -> Located<Vec<Requirement>> {
        let mut all = Vec::new();
        for (key, place, value) in &requires.map()?.entries {
            self.known(key).map_err(|problem| (*place, problem))?;
            let value = value.map()?;
            value.only(&["that", "supported"])?;
            all.push(Requirement {
                key: key.clone(),
                that: self.argument(value.require("that")?)?,
                supported: value.require("supported")?.str()?.to_owned(),
            });
        }
        Ok(all)
    }

    fn layers(&self, layers: &Map) -> Located<Layers> {
        layers.only(&["at", "count", "further", "slots", "steps"])?;
        let at = layers.require("at")?;
        let template = Template::new(at.str()?).map_err(|error| (at.place, error.into()))?;
        if !template.as_str().contains("{i}") {
            let found = format!("{:?}", at.str()?);
            return Err((at.place, FamilyProblem::Kind { expected: "a path with {i}", found }));
        }
        let reader = Reader { in_layer: true, ..*self };
        let map = layers.require("slots")?.map()?;
        let mut slots = Vec::new();
        for (name, ..) in &map.entries {
            slots.push(reader.slot(name, map, Interface::Hidden)?);
        }
        let (steps, factors) = steps::read(layers.require("steps")?.map()?, &slots, &reader)?;
        Ok(Layers {
            at: template,
            count: self.argument(layers.require("count")?)?,
            further: layers.get("further").map(|value| self.argument(value)).transpose()?,
            slots,
            steps,
            factors,
        })
    }

    /// One slot, or a mapping of names to slots.
    fn rotary_emb(&self, map: &Map) -> Located<Vec<Slot>> {
        match map.require(ROTARY_EMB)? {
            Yaml { content: Content::Map(tables), .. } if tables.get("block").is_none() => {
                let names = tables.entries.iter().map(|(name, ..)| name);
                let slot =
                    |name| Reader { table: Some(name), ..*self }.slot(name, tables, Interface::Positions);
                names.map(|name| slot(name)).collect()
            }
            _ => Ok(vec![self.slot(ROTARY_EMB, map, Interface::Positions)?]),
        }
    }

    /// The slot `name` of `parent`: a filling, or a list of them with conditions.
    fn slot(&self, name: &str, parent: &Map, interface: Interface) -> Located<Slot> {
        let value = parent.require(name)?;
        let fillings = match &value.content {
            Content::List(items) if items.is_empty() => {
                return Err((value.place, FamilyProblem::Missing("block".to_owned())));
            }
            Content::List(items) => {
                items.iter().map(|item| self.filling(name, item, interface)).collect::<Located<_>>()?
            }
            Content::Scalar(_) | Content::Map(_) => vec![self.filling(name, value, interface)?],
        };
        Ok(Slot { name: name.to_owned(), fillings })
    }

    fn filling(&self, name: &str, value: &Yaml, interface: Interface) -> Located<Filling> {
        let map = value.map()?;
        let block_name = map.require("block")?;
        let all = blocks::BLOCKS.iter();
        let Some(block) = all.clone().copied().find(|block| Ok(block.name) == block_name.str()) else {
            let names = all.map(|block| block.name);
            return Err((block_name.place, FamilyProblem::unknown("block", block_name.str()?, names)));
        };
        if block.interface != interface {
            let fitting = all.filter(|block| block.interface == interface);
            let blocks = fitting.map(|block| block.name.to_owned()).collect();
            let (slot, expected) = (name.to_owned(), interface.describe());
            return Err((block_name.place, FamilyProblem::WrongBlock { slot, expected, blocks }));
        }
        let params = block.params.iter().map(|param| param.name);
        map.only(&Vec::from_iter(KEYS.into_iter().chain(params)))?;
        let arguments =
            block.params.iter().map(|param| self.parameter(param, map)).collect::<Located<_>>()?;
        Ok(Filling {
            slot: name.to_owned(),
            condition: map.get("if").map(|value| self.argument(value)).transpose()?,
            place: value.place,
            block,
            arguments,
            at: self.path(name, map)?,
            names: names(block, map)?,
            tied_to: map.get("tied_to").map(|value| self.argument(value)).transpose()?,
        })
    }

    /// Where a slot's modules are.
    fn path(&self, name: &str, map: &Map) -> Located<String> {
        let Some(at) = map.get("at") else {
            // A slot without weights has no path outside the layers; its name does for its values.
            return Ok(name.to_owned());
        };
        let path = at.str()?;
        if path.contains(['{', '}']) {
            return Err((at.place, mscc_ir::template::BadTemplate(path.to_owned()).into()));
        }
        Ok(path.to_owned())
    }

    fn parameter(&self, param: &Param, map: &Map) -> Located<Argument> {
        match (map.get(param.name), param.default) {
            (Some(value), _) => self.argument(value),
            (None, Some(default)) => {
                let mut expr = Expr::parse(default).map_err(|error| (map.place, error.into()))?;
                if let Some(table) = self.table {
                    expr = expr.of_part(ROPE_PARAMETERS, table);
                }
                Ok(Argument { expr, place: map.place })
            }
            (None, None) => Err((map.place, FamilyProblem::Missing(param.name.to_owned()))),
        }
    }

    pub(super) fn argument(&self, value: &Yaml) -> Located<Argument> {
        let expr = match &value.content {
            Content::Scalar(Setting::Str(text)) => {
                Expr::parse(text).map_err(|error| (value.place, error.into()))?
            }
            Content::Scalar(_) | Content::List(_) | Content::Map(_) => Expr::constant(value.literal()?),
        };
        self.checked(expr, value.place)
    }

    /// An expression of keys that the family lists.
    pub(super) fn checked(&self, expr: Expr, place: Place) -> Located<Argument> {
        let mut unknown = None;
        expr.keys(&mut |key| {
            if let Err(problem) = self.known(key) {
                unknown.get_or_insert(problem);
            }
        });
        match unknown {
            None => Ok(Argument { expr, place }),
            Some(problem) => Err((place, problem)),
        }
    }

    /// Refuses a key that the family does not list.
    fn known(&self, key: &str) -> Result<(), FamilyProblem> {
        if (self.in_layer && key == LAYER_INDEX) || self.config.iter().any(|(name, _)| name == key) {
            return Ok(());
        }
        let names = self.config.iter().map(|(name, _)| name.as_str());
        Err(FamilyProblem::unknown("key in `config`", key, names))
    }
}

/// Keys or patterns, each with a reason.
fn reasons(list: &Yaml) -> Located<Vec<(String, String)>> {
    let entries = list.map()?.entries.iter();
    entries.map(|(name, _, reason)| Ok((name.clone(), reason.str()?.to_owned()))).collect()
}

fn names(block: &'static Block, map: &Map) -> Located<Vec<(String, String)>> {
    let Some(names) = map.get("names") else { return Ok(Vec::new()) };
    let names = names.map()?;
    names.only(block.modules)?;
    let mut renamed = Vec::new();
    for (module, _, name) in &names.entries {
        if name.str()?.contains(['{', '}']) {
            return Err((name.place, mscc_ir::template::BadTemplate(name.str()?.to_owned()).into()));
        }
        renamed.push((module.clone(), name.str()?.to_owned()));
    }
    Ok(renamed)
}
