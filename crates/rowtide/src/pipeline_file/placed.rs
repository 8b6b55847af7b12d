use std::fmt;

use rowtide_core::{
    Context, Result, async_trait,
    plugin::{Factory, InstallOptions, UninstallOptions},
};

/// A plugin's factory that says of each setting which section of the file it stands in, so that an
/// error of a running pipeline leads to a line as well.
pub(super) struct Placed<O: ?Sized> {
    inner: Box<dyn Factory<O>>,
    section: &'static str,
}

impl<O: ?Sized> fmt::Debug for Placed<O> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(formatter)
    }
}

impl<O: ?Sized + 'static> Placed<O> {
    pub(super) fn new(inner: Box<dyn Factory<O>>, section: &'static str) -> Self {
        Self { inner, section }
    }

    fn place<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| error.under(self.section))
    }
}

#[async_trait]
impl<O: ?Sized + 'static> Factory<O> for Placed<O> {
    fn validate(&self) -> Result<()> {
        self.place(self.inner.validate())
    }

    async fn open(&self, context: &Context) -> Result<Box<O>> {
        self.place(self.inner.open(context).await)
    }

    async fn install(&self, context: &Context, options: InstallOptions) -> Result<Vec<String>> {
        self.place(self.inner.install(context, options).await)
    }

    async fn uninstall(&self, context: &Context, options: UninstallOptions) -> Result<Vec<String>> {
        self.place(self.inner.uninstall(context, options).await)
    }

    async fn forget(&self, context: &Context) -> Result<()> {
        self.place(self.inner.forget(context).await)
    }
}
