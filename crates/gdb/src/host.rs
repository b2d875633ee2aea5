//! The program around a session.

/// What a session asks of the program around it.
pub trait Host: Sync {
    /// Why the machine crashed, for people.
    fn report(&self) -> String;

    /// Text in which everything is escaped that a terminal obeys, but for line ends and tabs.
    fn safe(&self, text: &str) -> String;
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A host that has nothing to say.
    pub(crate) struct Nobody;

    impl Host for Nobody {
        fn report(&self) -> String {
            "the report\n".into()
        }

        fn safe(&self, text: &str) -> String {
            text.replace('\x1b', "\\x1b")
        }
    }
}
