//! A setting of the shared broker's that a test changes.

use harness::servers::rabbitmqctl;
use tokio::runtime::Handle;

/// A setting that was changed. It is put back whatever becomes of the test.
pub(crate) struct Changed {
    back: Option<&'static [&'static str]>,
}

impl Changed {
    /// Changes a setting by one command of `rabbitmqctl`; the other puts it back.
    pub(crate) async fn by(
        command: &'static [&'static str],
        back: &'static [&'static str],
    ) -> Self {
        // Before the command: it may have half succeeded when it fails.
        let changed = Self { back: Some(back) };
        rabbitmqctl(command).await;
        changed
    }

    /// Puts it back now.
    pub(crate) async fn put_back(mut self) {
        if let Some(back) = self.back.take() {
            rabbitmqctl(back).await;
        }
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            tokio::task::block_in_place(|| Handle::current().block_on(rabbitmqctl(back)));
        }
    }
}
