//! What is found in place of weight files and indices.

/// What a file is that begins like this and is no safetensors file, with what to do about it; `None` if that cannot
/// be told.
///
/// Some of these bytes could begin a safetensors file too, as the length of its header, so this is asked only once it
/// is known not to be one.
pub(crate) fn other_format(start: &[u8]) -> Option<&'static str> {
    let blank = start.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let begins = |(magic, _): &&(&[u8], &str)| start.starts_with(magic) || start[blank..].starts_with(magic);
    if let Some((_, name)) = FORMATS.iter().find(begins) {
        return Some(name);
    }
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    let text = start.len() >= 4 && start.iter().all(is_text);
    text.then_some("text, perhaps an error in place of the download: look into it")
}

const PICKLE: &str = "a pickled PyTorch file, which can run code and is not read: convert it to safetensors";
const GGUF: &str = "a GGUF or GGML file, which is not read: take the model's release in safetensors";
const COMPRESSED: &str = "a compressed file: unpack it";

/// How other files begin. Longer beginnings stand before shorter ones that they begin with.
const FORMATS: [(&[u8], &str); 21] = [
    (b"version ", "a Git LFS pointer: run `git lfs pull` to get the file"),
    (b"PK\x03\x04", PICKLE),
    (b"\x80\x02", PICKLE),
    (b"\x80\x03", PICKLE),
    (b"\x80\x04", PICKLE),
    (b"\x80\x05", PICKLE),
    (b"GGUF", GGUF),
    (b"lmgg", GGUF),
    (b"fmgg", GGUF),
    (b"tjgg", GGUF),
    (b"\x89HDF\r\n", "an HDF5 file of TensorFlow or Keras, which is not read: convert it to safetensors"),
    (b"\x93NUMPY", "an array of NumPy, which is not read: convert it to safetensors"),
    (b"\x1f\x8b", COMPRESSED),
    (b"\x28\xb5\x2f\xfd", COMPRESSED),
    (b"\xfd7zXZ", COMPRESSED),
    (b"BZh", COMPRESSED),
    (b"MSCCPLAN", "a plan of mscc"),
    (b"<?xml", "an XML document, perhaps an error in place of the download: download it again"),
    (b"<", "a web page, perhaps an error in place of the download: download it again"),
    (b"{", "JSON, perhaps an error in place of the download: look into it"),
    (b"\xef\xbb\xbf", "a file with a byte order mark in front, which a text editor adds: download it again"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_text_from_what_it_does_not_know() {
        assert!(other_format(b" \n <html").unwrap().contains("web page"));
        assert!(other_format(b"Entry not").unwrap().starts_with("text"));
        assert_eq!(other_format(b"\x02\0\0\0\0\0\0\0"), None);
        assert_eq!(other_format(b""), None);
    }
}
