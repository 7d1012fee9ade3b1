//! Parts of an export on their own, for whoever measures them.

pub use crate::{
    export::{
        compress::Compressor,
        encode::{Encoder, PART_BYTES},
        lines::Lines,
    },
    s3::key::events as object_key,
};
