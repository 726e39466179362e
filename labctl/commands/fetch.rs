//! `labctl fetch`: one HTTP request from a node, with the node's own names, addresses and routes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde::Serialize;

use super::{Failure, Format, Outcome, Which, output};
use crate::holder::lab::chain;
use crate::topology::{NodeName, lasting};

const EXAMPLES: &str = "\
Examples:
  labctl fetch --from client http://203.0.113.10/healthz
  labctl fetch --from proxy2 http://remote/                    who does the street think that proxy2 is?
  labctl fetch --from client -X POST http://203.0.113.10/conversations --format json";

/// Make one HTTP request from a node
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// The node that asks
    #[arg(long, value_name = "NODE")]
    from: NodeName,
    /// One of its addresses to ask from
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,
    /// The method
    #[arg(short = 'X', long, default_value = "GET")]
    method: Method,
    /// A header, as `Name: value`; may be repeated
    #[arg(short = 'H', long = "header", value_name = "HEADER", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The body; JSON unless a header says otherwise
    #[arg(short, long)]
    data: Option<String>,
    /// How long the whole exchange may take
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = lasting)]
    timeout: Duration,
    /// `table` prints the body; `json` prints status, headers and body
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// What to ask for
    url: Url,
}

#[derive(Debug, Serialize)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is `Name: value`")?;
    let name = name.trim().parse().map_err(|_| format!("`{}` is not the name of a header", name.trim()))?;
    let value = value.trim().parse().map_err(|_| "that value cannot stand in a header".to_owned())?;
    Ok((name, value))
}

/// Runs the verb.
pub fn run(args: &Args) -> Outcome {
    let init = args.which.find()?.enter(&args.from)?;
    init.visit().map_err(|errno| Failure::entering(&args.from, errno))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(fetch(args)) {
        Ok(answer) => {
            match args.format {
                Format::Table => output::write(answer.body.as_bytes())?,
                Format::Json => {
                    print_line!("{}", serde_json::to_string(&answer).map_err(std::io::Error::from)?)?
                }
            }
            let good = (200..400).contains(&answer.status);
            if !good {
                say!("labctl: {} answered {}", args.url, answer.status);
            }
            Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(Failure::FAILED) })
        }
        Err(error) => {
            say!("labctl: {} from {}: {}", args.url, args.from, chain(&error));
            Ok(ExitCode::from(Failure::FAILED))
        }
    }
}

async fn fetch(args: &Args) -> Result<Answer, reqwest::Error> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(args.timeout)
        .tcp_user_timeout(args.timeout)
        .local_address(args.source)
        .build()?;
    let mut request = client.request(args.method.clone(), args.url.clone());
    if let Some(data) = &args.data {
        request = request.header("Content-Type", "application/json").body(data.clone());
    }
    for (name, value) in &args.headers {
        request = request.header(name, value);
    }
    let response = request.send().await?;
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let headers = headers.collect();
    Ok(Answer { status, headers, body: response.text().await? })
}
