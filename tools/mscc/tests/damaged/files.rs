//! What is not a file, not there, or not to be read.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;

use insta::assert_snapshot;

use crate::{COMPILE, Case, Model, RUN_TEXT, failing, refused};

#[test]
fn in_place_of_the_model() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("nothing", |m| fs::remove_dir_all(m.path("model")).unwrap()),
            ("an empty directory", |m| clear(m)),
            ("an empty file", |m| {
                fs::remove_dir_all(m.path("model")).unwrap();
                fs::write(m.path("model"), "").unwrap();
            }),
            ("weights", |m| {
                fs::rename(m.file("model.safetensors"), m.path("weights")).unwrap();
                fs::remove_dir_all(m.path("model")).unwrap();
                fs::rename(m.path("weights"), m.path("model")).unwrap();
            }),
            ("a link to nothing", |m| {
                fs::remove_dir_all(m.path("model")).unwrap();
                symlink("gone", m.path("model")).unwrap();
            }),
            ("a link to itself", |m| {
                fs::remove_dir_all(m.path("model")).unwrap();
                symlink("model", m.path("model")).unwrap();
            }),
            ("a pipe", |m| {
                fs::remove_dir_all(m.path("model")).unwrap();
                Command::new("mkfifo").arg(m.path("model")).status().unwrap();
            }),
            ("/dev/zero", |m| {
                fs::remove_dir_all(m.path("model")).unwrap();
                symlink("/dev/zero", m.path("model")).unwrap();
            }),
            ("a folder of the hub's cache", |m| {
                clear(m);
                fs::create_dir_all(m.file("snapshots/abc")).unwrap();
                fs::create_dir(m.file("blobs")).unwrap();
            }),
            ("an adapter", |m| {
                clear(m);
                m.write("adapter_config.json", "{}");
            }),
            ("a pipeline", |m| {
                clear(m);
                m.write("model_index.json", "{}");
            }),
            ("the authors' own release", |m| {
                clear(m);
                m.write("params.json", "{}");
            }),
            ("a directory above the model", |m| {
                fs::rename(m.path("model"), m.path("inner")).unwrap();
                fs::create_dir(m.path("model")).unwrap();
                fs::rename(m.path("inner"), m.file("inner")).unwrap();
            }),
        ]
    ));
}

fn clear(model: &Model) {
    fs::remove_dir_all(model.path("model")).unwrap();
    fs::create_dir(model.path("model")).unwrap();
}

#[test]
fn in_place_of_config_json() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("nothing", |m| m.remove("config.json")),
            ("a directory", |m| m.dir("config.json")),
            ("a pipe", |m| m.pipe("config.json")),
            ("a socket", |m| {
                m.remove("config.json");
                UnixListener::bind(m.file("config.json")).unwrap();
            }),
            ("/dev/zero", |m| m.link("/dev/zero", "config.json")),
            ("/dev/null", |m| m.link("/dev/null", "config.json")),
            ("a link to nothing", |m| m.link("../blobs/4d7a21", "config.json")),
            ("a link to itself", |m| m.link("config.json", "config.json")),
            ("a link to the weights", |m| m.link("model.safetensors", "config.json")),
            ("Config.JSON", |m| fs::rename(m.file("config.json"), m.file("Config.JSON")).unwrap()),
        ]
    ));
}

#[test]
fn in_place_of_model_safetensors() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("a directory", |m| m.dir("model.safetensors")),
            ("a pipe", |m| m.pipe("model.safetensors")),
            ("a socket", |m| {
                m.remove("model.safetensors");
                UnixListener::bind(m.file("model.safetensors")).unwrap();
            }),
            ("/dev/zero", |m| m.link("/dev/zero", "model.safetensors")),
            ("/dev/null", |m| m.link("/dev/null", "model.safetensors")),
            ("a link to nothing", |m| m.link("../blobs/4d7a21", "model.safetensors")),
            ("a link to itself", |m| m.link("model.safetensors", "model.safetensors")),
            ("links in a circle", |m| {
                m.link("b", "model.safetensors");
                m.link("model.safetensors", "b");
            }),
            ("a link to a directory", |m| m.link("..", "model.safetensors")),
            ("a link to the config", |m| m.link("config.json", "model.safetensors")),
            ("a link through a file", |m| m.link("config.json/x", "model.safetensors")),
        ]
    ));
}

#[test]
fn in_place_of_tokenizer_json() {
    assert_snapshot!(refused(
        RUN_TEXT,
        &[
            ("nothing", |m| m.remove("tokenizer.json")),
            ("a directory", |m| m.dir("tokenizer.json")),
            ("a pipe", |m| m.pipe("tokenizer.json")),
            ("/dev/zero", |m| m.link("/dev/zero", "tokenizer.json")),
            ("a link to nothing", |m| m.link("../blobs/4d7a21", "tokenizer.json")),
            ("a link to itself", |m| m.link("tokenizer.json", "tokenizer.json")),
            ("a directory in place of its config", |m| m.dir("tokenizer_config.json")),
            ("a pipe in place of its config", |m| m.pipe("tokenizer_config.json")),
            ("its config is a link to nothing", |m| m.link("../blobs/4d7a21", "tokenizer_config.json")),
            ("its config is a link to itself", |m| m.link("tokenizer_config.json", "tokenizer_config.json")),
            ("a pipe in place of generation_config.json", |m| m.pipe("generation_config.json")),
            ("a directory in place of generation_config.json", |m| m.dir("generation_config.json")),
            ("generation_config.json is a link to itself", |m| {
                m.link("generation_config.json", "generation_config.json");
            }),
        ]
    ));
}

#[test]
fn no_right_to_read() {
    let cases: &[Case] = &[
        ("config.json", |m| m.lock("config.json")),
        ("model.safetensors", |m| m.lock("model.safetensors")),
        ("a shard", |m| {
            m.shard();
            m.lock("model-00002-of-00002.safetensors");
        }),
        ("the index", |m| {
            m.shard();
            m.lock("model.safetensors.index.json");
        }),
        ("generation_config.json", |m| m.lock("generation_config.json")),
        ("tokenizer.json", |m| m.lock("tokenizer.json")),
        ("tokenizer_config.json", |m| m.lock("tokenizer_config.json")),
        ("the directory", |m| m.lock("")),
    ];
    assert_snapshot!(failing(2, Model::mscc_as_user, RUN_TEXT, cases));
}

#[test]
fn no_place_for_the_plan() {
    let args = ["compile", "model", "-o", "out/plan.bin"];
    let cases: &[Case] = &[
        ("no right to write", |m| {
            fs::create_dir(m.path("out")).unwrap();
            fs::set_permissions(m.path("out"), Permissions::from_mode(0o555)).unwrap();
        }),
        ("a full disk", |m| {
            fs::create_dir(m.path("out")).unwrap();
            symlink("/dev/full", m.path("out/plan.bin")).unwrap();
        }),
    ];
    assert_snapshot!(failing(1, Model::mscc_as_user, &args, cases));
    assert_snapshot!(refused(
        &args,
        &[
            ("no directory", |_| ()),
            ("a file in place of its directory", |m| fs::write(m.path("out"), "").unwrap()),
            ("a directory in its place", |m| fs::create_dir_all(m.path("out/plan.bin")).unwrap()),
        ]
    ));
}
