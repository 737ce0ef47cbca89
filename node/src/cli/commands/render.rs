//! `render`: a site's configuration in the form that another program reads.

use clap::{Args, ValueEnum as _};
use driftless_core::name::Kind;

use crate::cli::client::Ask;
use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::query::Query;
use crate::cli::resources::parse_of_kind;
use crate::cli::session::Session;
use crate::formats::Format;

/// Print a site's configuration as Helm values, a Kubernetes ConfigMap, YAML, JSON or KEY=value lines
///
/// The same configuration is printed as the same bytes, at every node. A site that does not resolve, or that no
/// profile selects, has nothing to print: it keeps what it runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless render site/store-17
  driftless render site/store-17 --format helm --path pos > values.yaml
  driftless render site/store-17 --format configmap --name till --map-namespace shop | kubectl apply -f -
  driftless render site/store-17 --format configmap --key app.json
  driftless render site/store-17 --format env --active")]
pub struct Render {
    /// site/NAME
    pub site: String,
    /// The form
    #[arg(long, value_enum, default_value_t = Format::Yaml)]
    pub format: Format,
    /// What the site runs, instead of what it should; a node that knows only its hash says so
    #[arg(long)]
    pub active: bool,
    /// Only the values below this path, as the chart of one application takes them
    #[arg(long)]
    pub path: Option<String>,
    /// The ConfigMap's name; SITE-config unless given
    #[arg(long)]
    pub name: Option<String>,
    /// The ConfigMap's namespace in its cluster; left open unless given
    #[arg(long, value_name = "NAME")]
    pub map_namespace: Option<String>,
    /// The ConfigMap's key, config.yaml unless given; .json and .env at its end say how the content is written
    #[arg(long)]
    pub key: Option<String>,
}

impl Render {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), Failure> {
        let is_map = self.format == Format::ConfigMap;
        if !is_map && (self.name.is_some() || self.map_namespace.is_some() || self.key.is_some()) {
            return Err(Failure::Usage(
                "--name, --map-namespace and --key are for --format configmap".to_owned(),
            ));
        }
        let site = parse_of_kind(&self.site, Kind::Site)?;
        let format = self.format.to_possible_value();
        let path = Query::new("/v1/render")
            .with("site", &site)
            .with("namespace", &session.namespace)
            .with_some("format", format.as_ref().map(|format| format.get_name()))
            .with_some("active", self.active.then_some("true"))
            .with_some("path", self.path.as_deref())
            .with_some("name", self.name.as_deref())
            .with_some("mapNamespace", self.map_namespace.as_deref())
            .with_some("key", self.key.as_deref());
        print::out(&session.client.text(Ask::get(path.as_str())).await?)
    }
}
