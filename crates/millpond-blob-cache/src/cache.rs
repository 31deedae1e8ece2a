//! stub
#[derive(Debug)]
pub(crate) struct Flight;
