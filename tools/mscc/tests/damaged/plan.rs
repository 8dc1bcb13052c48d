//! plan.bin: what is found in its place. Damage inside plans is the business of the runtime's tests.

use insta::assert_snapshot;

use crate::model::Model;
use crate::{Case, refused};

fn compiled(model: &Model) {
    assert_eq!(model.mscc(crate::COMPILE).code, 0);
}

#[test]
fn in_its_place() {
    let cases: &[Case] = &[
        ("nothing", |_| ()),
        ("an empty file", |m| std::fs::write(m.path("plan.bin"), "").unwrap()),
        ("zero bytes", |m| std::fs::write(m.path("plan.bin"), [0; 4096]).unwrap()),
        ("an LFS pointer", |m| std::fs::write(m.path("plan.bin"), crate::config::LFS_POINTER).unwrap()),
        ("the weights", |m| std::fs::write(m.path("plan.bin"), m.read("model.safetensors")).unwrap()),
        ("the config", |m| std::fs::write(m.path("plan.bin"), m.read("config.json")).unwrap()),
        ("a pipe", |m| {
            std::process::Command::new("mkfifo").arg(m.path("plan.bin")).status().unwrap();
        }),
        ("/dev/zero", |m| std::os::unix::fs::symlink("/dev/zero", m.path("plan.bin")).unwrap()),
        ("/dev/null", |m| std::os::unix::fs::symlink("/dev/null", m.path("plan.bin")).unwrap()),
        ("a link to nothing", |m| std::os::unix::fs::symlink("gone.bin", m.path("plan.bin")).unwrap()),
        ("a link to itself", |m| std::os::unix::fs::symlink("plan.bin", m.path("plan.bin")).unwrap()),
        ("a sparse file of a terabyte", |m| {
            std::fs::File::create(m.path("plan.bin")).unwrap().set_len(1 << 40).unwrap();
        }),
    ];
    assert_snapshot!("in_its_place_inspect", refused(&["inspect", "plan.bin"], cases));
    assert_snapshot!("in_its_place_run", refused(&["run", "plan.bin", "--prompt-ids", "1"], cases));
}

#[test]
fn damaged() {
    let cases: &[Case] = &[
        ("cut in half", |m| change(m, |plan| plan.truncate(plan.len() / 2))),
        ("a byte less", |m| change(m, |plan| plan.truncate(plan.len() - 1))),
        ("a byte more", |m| change(m, |plan| plan.push(0))),
        ("a byte changed", |m| {
            change(m, |plan| {
                let middle = plan.len() / 2;
                plan[middle] ^= 1;
            });
        }),
        ("two plans", |m| change(m, |plan| plan.extend_from_within(..))),
        ("magic of another case", |m| change(m, |plan| plan[..8].make_ascii_lowercase())),
        ("line ends changed", |m| {
            change(m, |plan| {
                // Hashes at the beginning have some or none, as the plan may be.
                let text = plan.split_off(plan.len() / 2);
                plan.extend(text.iter().flat_map(|b| if *b == b'\n' { vec![13, 10] } else { vec![*b] }));
            });
        }),
        ("lengths of 2^64 - 1", |m| change(m, |plan| plan[12..60].fill(0xff))),
    ];
    assert_snapshot!(refused(&["run", "plan.bin", "--prompt-ids", "1"], cases));
}

fn change(model: &Model, change: fn(&mut Vec<u8>)) {
    compiled(model);
    let mut plan = std::fs::read(model.path("plan.bin")).unwrap();
    change(&mut plan);
    std::fs::write(model.path("plan.bin"), plan).unwrap();
}

#[test]
fn weights_behind_it() {
    let cases: &[Case] = &[
        ("gone", |m| {
            compiled(m);
            m.remove("model.safetensors");
        }),
        ("with their directory", |m| {
            compiled(m);
            std::fs::remove_dir_all(m.path("model")).unwrap();
        }),
        ("cut", |m| {
            compiled(m);
            m.write("model.safetensors", &m.read("model.safetensors")[..5000]);
        }),
        ("empty", |m| {
            compiled(m);
            m.write("model.safetensors", "");
        }),
        ("an LFS pointer", |m| {
            compiled(m);
            m.write("model.safetensors", crate::config::LFS_POINTER);
        }),
        ("a directory", |m| {
            compiled(m);
            m.dir("model.safetensors");
        }),
        ("a pipe", |m| {
            compiled(m);
            m.pipe("model.safetensors");
        }),
        ("a link to nothing", |m| {
            compiled(m);
            m.link("../blobs/4d7a21", "model.safetensors");
        }),
        ("a link to itself", |m| {
            compiled(m);
            m.link("model.safetensors", "model.safetensors");
        }),
        ("of another model", |m| {
            compiled(m);
            m.edit_tensors(|tensors| tensors.swap(1, 2));
        }),
        ("a byte longer", |m| {
            compiled(m);
            m.write("model.safetensors", [m.read("model.safetensors"), vec![0]].concat());
        }),
        ("a file in place of their directory", |m| {
            compiled(m);
            std::fs::remove_dir_all(m.path("model")).unwrap();
            std::fs::write(m.path("model"), "").unwrap();
        }),
    ];
    assert_snapshot!(refused(&["run", "plan.bin", "--prompt-ids", "1"], cases));
}
