//! Opening handshakes that differ between connections: `{conn}` and `{token}` in header fields and
//! in the request target.
//!
//! Owns which handshakes differ at all: those that do not are made once and shared.

use std::rc::Rc;

use crate::config::Config;
use crate::connect::establish::Greeting;
use crate::message::template::{Template, Values};
use crate::message::tokens::Tokens;

/// Makes the opening handshake of each connection.
#[derive(Debug)]
pub struct Greetings {
    /// What all of them have in common.
    common: Rc<Greeting>,
    varied: Option<Varied>,
}

#[derive(Debug)]
struct Varied {
    request_target: Template,
    /// In the order of the common ones.
    header_values: Vec<Template>,
    tokens: Tokens,
    seed: u64,
}

/// Checks the placeholders of a text that is sent in an opening handshake.
///
/// # Errors
/// One sentence with cause and cure.
pub fn check(text: &str, has_tokens: bool) -> Result<(), String> {
    let template = Template::parse(text)?;
    if template.has_message_values() {
        return Err(format!(
            "'{text}': an opening handshake knows {{conn}}, {{token}} and {{rand:N}} only"
        ));
    }
    if template.has_token() && !has_tokens {
        return Err(format!(
            "'{text}' contains {{token}}, but there are no tokens; pass --token-file FILE"
        ));
    }
    Ok(())
}

/// What [`check`] has let pass; anything else is taken as it stands.
fn parse(text: &str) -> Template {
    Template::parse(text).unwrap_or_else(|_| Template::literal(text))
}

impl Greetings {
    /// What a configuration asks for.
    pub fn of(config: &Config) -> Greetings {
        let common = Greeting::of(config);
        let request_target = parse(&common.request_target);
        let headers = common.headers.iter();
        let header_values: Vec<Template> = headers.map(|(_, value)| parse(value)).collect();
        let is_varied =
            !request_target.is_constant() || !header_values.iter().all(Template::is_constant);
        let varied = is_varied.then(|| Varied {
            request_target,
            header_values,
            tokens: config.tokens.clone(),
            seed: config.seed,
        });
        Greetings {
            common: Rc::new(common),
            varied,
        }
    }

    /// The opening handshake of connection `number`.
    pub fn of_connection(&self, number: u32) -> Rc<Greeting> {
        let Some(varied) = &self.varied else {
            return Rc::clone(&self.common);
        };
        // Any odd constant: what is random in a handshake depends on the connection alone.
        let seed = (u64::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = fastrand::Rng::with_seed(varied.seed ^ seed);
        let mut render = |template: &Template| {
            let mut out = Vec::new();
            let values = Values {
                connection: number,
                sequence: 0,
                now_ns: 0,
                token: varied.tokens.of(number),
                topic: "",
                random: &mut random,
            };
            template.render(values, &mut out);
            // Templates and values are text, so nothing is lost here.
            String::from_utf8_lossy(&out).into_owned()
        };
        let mut greeting = Greeting::clone(&self.common);
        greeting.request_target = render(&varied.request_target);
        for ((_, value), template) in greeting.headers.iter_mut().zip(&varied.header_values) {
            *value = render(template);
        }
        Rc::new(greeting)
    }
}
