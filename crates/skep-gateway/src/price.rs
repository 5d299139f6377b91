//! What a call cost, and the most that it can cost.
//!
//! Prices are whole millionths of a dollar per million tokens and every class is rounded up to
//! the millionth, so a bill is never below what the provider's exact arithmetic gives. Invariant:
//! whatever a provider reports within the bounds of a request costs no more than [`worst_case`]
//! said before; what has no bound or no price is refused.

use crate::config::ModelConfig;
use crate::limits::{IMAGE_TOKENS_MAX, TOOL_PROMPT_TOKENS_MAX};
use ring::digest::{Context, SHA256};
use skep_types::{MicroUsd, TokenCounts};
use skep_wire::RequestHead;
use std::collections::BTreeMap;

const PER_MILLION: i128 = 1_000_000;

/// The window that the vendor's `context-1m` betas open, in tokens. Beyond a model's ordinary
/// window a premium applies, which the price book does not hold.
const LARGE_WINDOW_TOKENS: i64 = 1_000_000;
const LARGE_WINDOW_BETA: &str = "context-1m";

/// The list price of one model: millionths of a dollar per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Uncached input.
    pub input: i64,
    /// Output, reasoning included.
    pub output: i64,
    /// Input read from the provider's cache.
    pub cache_read: i64,
    /// Input written to the cache for five minutes.
    pub cache_write_5m: i64,
    /// Input written to the cache for an hour.
    pub cache_write_1h: i64,
}

impl Price {
    /// What `tokens` cost at this price.
    pub fn cost(&self, tokens: &TokenCounts) -> MicroUsd {
        let five_minutes = (tokens.cache_write - tokens.cache_write_1h).max(0);
        let classes = [
            (tokens.input, self.input),
            (tokens.cache_read, self.cache_read),
            (five_minutes, self.cache_write_5m),
            (tokens.cache_write_1h, self.cache_write_1h),
            (tokens.output, self.output),
        ];
        classes
            .into_iter()
            .fold(MicroUsd::ZERO, |sum, (count, price)| {
                sum.saturating_add(class_cost(count, price))
            })
    }

    fn dearest_input(&self) -> i64 {
        self.input
            .max(self.cache_read)
            .max(self.cache_write_5m)
            .max(self.cache_write_1h)
    }
}

/// `tokens` at `price` per million, rounded up.
fn class_cost(tokens: i64, price: i64) -> MicroUsd {
    let product = i128::from(tokens.max(0)) * i128::from(price);
    let micro = (product + PER_MILLION - 1) / PER_MILLION;
    MicroUsd(i64::try_from(micro).unwrap_or(i64::MAX))
}

/// The bound of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WorstCase {
    /// No more input than this is possible, all classes together.
    pub(crate) input_tokens: i64,
    /// No more output than this is possible.
    pub(crate) output_tokens: i64,
    /// What the two cost at most.
    pub(crate) cost: MicroUsd,
}

/// Why a call has no bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoBound {
    /// The model has no price.
    #[error("model `{model}` has no price in the configuration")]
    UnknownPrice {
        /// The model.
        model: String,
    },
    /// The request asks for something that changes the price in a way nobody has written down.
    #[error("no price is known for `{field}` = `{value}`")]
    UnknownVariant {
        /// The request's field.
        field: &'static str,
        /// Its value, cut.
        value: String,
    },
    /// Something in the request can cost any amount.
    #[error("the cost of the call has no upper bound: {reason}")]
    Unbounded {
        /// What it is, and what would bound it.
        reason: String,
    },
}

impl NoBound {
    /// The stable code for users and scripts.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::UnknownPrice { .. } | Self::UnknownVariant { .. } => "unknown_price",
            Self::Unbounded { .. } => "unbounded_call",
        }
    }
}

/// A request as far as its price goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Priced<'a> {
    /// What was read of the body.
    pub(crate) head: &'a RequestHead,
    /// The body as it will be sent.
    pub(crate) body: &'a [u8],
    /// The values of every `anthropic-beta` header, joined by commas.
    pub(crate) betas: &'a str,
}

/// The most that `request` to `model` can cost.
///
/// Input: a token is never shorter than a byte of the body, plus an allowance for every inline
/// image and for the provider's own instructions about tools, and never more than the context
/// window; at the dearest class. Output: the request's cap, or the model's.
///
/// # Errors
/// The model has no price, or something in the request has no bound.
pub(crate) fn worst_case(model: &ModelConfig, request: Priced<'_>) -> Result<WorstCase, NoBound> {
    let price = model.price.ok_or_else(|| NoBound::UnknownPrice {
        model: model.name.clone(),
    })?;
    refuse_variants(request.head)?;
    let input_tokens = input_bound(model, request)?;
    let output_tokens = request
        .head
        .max_tokens
        .or(model.output_tokens_max)
        .ok_or_else(|| NoBound::Unbounded {
            reason: format!(
                "the request has no `max_tokens` and model `{}` no `output_tokens_max`",
                model.name
            ),
        })?;
    // The four input classes round up one by one: three more than all of them together.
    let rounding = MicroUsd(3);
    let cost = class_cost(input_tokens, price.dearest_input())
        .saturating_add(class_cost(output_tokens, price.output))
        .saturating_add(if price.dearest_input() == 0 {
            MicroUsd::ZERO
        } else {
            rounding
        });
    Ok(WorstCase {
        input_tokens,
        output_tokens,
        cost,
    })
}

fn input_bound(model: &ModelConfig, request: Priced<'_>) -> Result<i64, NoBound> {
    let head = request.head;
    if let Some(part) = head
        .unbounded
        .iter()
        .find(|p| !p.is_within_context_window())
    {
        return Err(NoBound::Unbounded {
            reason: format!("the request holds {part}, whose fees are not in the price book"),
        });
    }
    let window = model.context_tokens;
    if let Some(part) = head.unbounded.first() {
        return window.ok_or_else(|| NoBound::Unbounded {
            reason: format!(
                "the request holds {part} and model `{}` has no `context_tokens`",
                model.name
            ),
        });
    }
    let bytes = i64::try_from(request.body.len()).unwrap_or(i64::MAX);
    let images = i64::from(head.inline_images).saturating_mul(IMAGE_TOKENS_MAX);
    let tools = if may_have_tools(request.body) {
        TOOL_PROMPT_TOKENS_MAX
    } else {
        0
    };
    let bound = bytes.saturating_add(images).saturating_add(tools);
    let Some(window) = window.filter(|window| *window < bound) else {
        return Ok(bound);
    };
    let large = request
        .betas
        .split(',')
        .any(|beta| beta.trim().starts_with(LARGE_WINDOW_BETA));
    if large && window < LARGE_WINDOW_TOKENS {
        return Err(NoBound::Unbounded {
            reason: format!(
                "the header `anthropic-beta: {LARGE_WINDOW_BETA}…` asks for a larger window than \
                 the {window} tokens that model `{}` is priced for",
                model.name
            ),
        });
    }
    Ok(window)
}

/// Whether the body can hold a `tools` field. A key that spells it otherwise needs an escape of an
/// ASCII character, so the answer is never wrongly no.
fn may_have_tools(body: &[u8]) -> bool {
    std::str::from_utf8(body).map_or(true, |text| {
        text.contains("\"tools\"") || text.contains("\\u00")
    })
}

/// Fields that change the price at the vendor: only the values that leave it alone are let through.
fn refuse_variants(head: &RequestHead) -> Result<(), NoBound> {
    let fields: [(&'static str, &Option<String>, &[&str]); 3] = [
        (
            "service_tier",
            &head.service_tier,
            &["auto", "standard", "standard_only", "default"],
        ),
        ("speed", &head.speed, &["standard"]),
        ("inference_geo", &head.inference_geo, &["global"]),
    ];
    for (field, value, priced) in fields {
        if let Some(value) = value.as_deref().filter(|value| !priced.contains(value)) {
            let shown = value.chars().take(40).collect();
            return Err(NoBound::UnknownVariant {
                field,
                value: shown,
            });
        }
    }
    Ok(())
}

/// A short name of all prices together: it changes exactly when a price does, and is stored with
/// every call that was reckoned by it.
pub(crate) fn price_book(models: &BTreeMap<String, ModelConfig>) -> String {
    let mut hash = Context::new(&SHA256);
    for model in models.values() {
        let prices = model.price.map(|p| {
            [
                p.input,
                p.output,
                p.cache_read,
                p.cache_write_5m,
                p.cache_write_1h,
            ]
        });
        // Debug of a tuple quotes its strings, so no two books give the same text.
        let line = format!(
            "{:?}\n",
            (&model.name, &model.provider, &model.upstream, prices)
        );
        hash.update(line.as_bytes());
    }
    let digest = hash.finish();
    format!("pb_{}", crate::digest::hex(&digest.as_ref()[..8]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 3 / 15 / 0.30 / 3.75 / 6 dollars per million.
    const PRICE: Price = Price {
        input: 3_000_000,
        output: 15_000_000,
        cache_read: 300_000,
        cache_write_5m: 3_750_000,
        cache_write_1h: 6_000_000,
    };

    fn tokens(input: i64, cache_read: i64, write: i64, write_1h: i64, output: i64) -> TokenCounts {
        TokenCounts {
            input,
            cache_read,
            cache_write: write,
            cache_write_1h: write_1h,
            output,
        }
    }

    fn model(context_tokens: Option<i64>, output_tokens_max: Option<i64>) -> ModelConfig {
        ModelConfig {
            name: "m".to_owned(),
            provider: "p".to_owned(),
            upstream: "m-1".to_owned(),
            family: "f".to_owned(),
            context_tokens,
            output_tokens_max,
            price: Some(PRICE),
        }
    }

    fn bound(model: &ModelConfig, body: &str, betas: &str) -> Result<WorstCase, NoBound> {
        let head = skep_wire::read_head(body.as_bytes()).unwrap();
        worst_case(
            model,
            Priced {
                head: &head,
                body: body.as_bytes(),
                betas,
            },
        )
    }

    #[test]
    fn every_class_has_its_price_and_rounds_up() {
        for (counts, micro) in [
            (tokens(1_000, 0, 0, 0, 0), 3_000),
            (tokens(0, 1_000, 0, 0, 0), 300),
            (tokens(0, 0, 1_000, 0, 0), 3_750),
            (tokens(0, 0, 1_000, 1_000, 0), 6_000),
            (tokens(0, 0, 1_000, 400, 0), 2_250 + 2_400),
            (tokens(0, 0, 0, 0, 1_000), 15_000),
            // 0.3 + 3.75 of a millionth: one and four.
            (tokens(0, 1, 1, 0, 0), 1 + 4),
            (
                tokens(12, 4_000, 300, 200, 25),
                36 + 1_200 + 375 + 1_200 + 375,
            ),
        ] {
            assert_eq!(PRICE.cost(&counts), MicroUsd(micro), "{counts:?}");
        }
    }

    #[test]
    fn the_bound_is_bytes_at_the_dearest_class_and_the_output_cap() {
        let body = r#"{"model":"m","max_tokens":100,"messages":[]}"#;
        let worst = bound(&model(None, None), body, "").unwrap();
        assert_eq!((worst.input_tokens, worst.output_tokens), (44, 100));
        assert_eq!(worst.cost, MicroUsd(44 * 6 + 100 * 15 + 3));
        assert_eq!(
            bound(&model(Some(10), None), body, "")
                .unwrap()
                .input_tokens,
            10
        );
    }

    #[test]
    fn tools_and_images_have_an_allowance() {
        for (body, extra) in [
            (
                r#"{"model":"m","max_tokens":1,"tools":[],"messages":[]}"#,
                TOOL_PROMPT_TOKENS_MAX,
            ),
            (
                r#"{"model":"m","max_tokens":1,"\u0074ools":[],"messages":[]}"#,
                TOOL_PROMPT_TOKENS_MAX,
            ),
            (
                r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":""}}]}]}"#,
                IMAGE_TOKENS_MAX,
            ),
        ] {
            let worst = bound(&model(None, None), body, "").unwrap();
            let bytes = i64::try_from(body.len()).unwrap();
            assert_eq!(worst.input_tokens, bytes + extra, "{body}");
        }
    }

    #[test]
    fn what_has_no_bound_is_refused_by_name() {
        let plain = r#"{"model":"m","messages":[]}"#;
        let url = r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://x"}}]}]}"#;
        let search = r#"{"model":"m","max_tokens":1,"messages":[],"tools":[{"type":"web_search_20250305","name":"w"}]}"#;
        let fast = r#"{"model":"m","max_tokens":1,"messages":[],"speed":"fast"}"#;
        let (open, windowed) = (model(None, None), model(Some(5_000), None));
        let mut unpriced = model(None, None);
        unpriced.price = None;
        for (model, body, betas, code) in [
            (&open, plain, "", "unbounded_call"),
            (&open, url, "", "unbounded_call"),
            (&windowed, search, "", "unbounded_call"),
            (&windowed, fast, "", "unknown_price"),
            (&unpriced, url, "", "unknown_price"),
        ] {
            assert_eq!(
                bound(model, body, betas).unwrap_err().code(),
                code,
                "{body}"
            );
        }
        assert_eq!(bound(&windowed, url, "").unwrap().input_tokens, 5_000);
        assert_eq!(
            bound(&model(None, Some(7)), plain, "")
                .unwrap()
                .output_tokens,
            7
        );
        let long = format!(
            r#"{{"model":"m","max_tokens":1,"messages":[],"x":"{}"}}"#,
            "a".repeat(6_000)
        );
        assert!(bound(&windowed, &long, "a, context-1m-2025-08-07").is_err());
        assert!(bound(&windowed, &long, "b").is_ok());
    }

    #[test]
    fn the_price_book_changes_with_any_price() {
        let book = |price: Option<Price>| {
            let mut model = model(None, None);
            model.price = price;
            price_book(&BTreeMap::from([("m".to_owned(), model)]))
        };
        let dearer = Price {
            output: 15_000_001,
            ..PRICE
        };
        assert_eq!(book(Some(PRICE)), book(Some(PRICE)));
        assert_ne!(book(Some(PRICE)), book(Some(dearer)));
        assert_ne!(book(Some(PRICE)), book(None));
    }

    proptest! {
        #[test]
        fn nothing_within_the_bound_costs_more(
            bytes in 0_usize..3_000,
            max_tokens in 0_i64..5_000,
            cuts in [0.0_f64..1.0, 0.0_f64..1.0, 0.0_f64..1.0],
            used in 0.0_f64..=1.0,
            prices in [0_i64..20_000_000, 0_i64..20_000_000, 0_i64..20_000_000, 0_i64..20_000_000, 0_i64..20_000_000],
        ) {
            let mut model = model(None, None);
            let [input, output, cache_read, cache_write_5m, cache_write_1h] = prices;
            let price = Price { input, output, cache_read, cache_write_5m, cache_write_1h };
            model.price = Some(price);
            let filler = "x".repeat(bytes);
            let body = format!(r#"{{"model":"m","max_tokens":{max_tokens},"messages":[],"x":"{filler}"}}"#);
            let worst = bound(&model, &body, "").unwrap();
            let share = |of: i64, part: f64| {
                #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small numbers of a test")]
                { (of as f64 * part) as i64 }
            };
            let total = share(worst.input_tokens, used);
            let first = share(total, cuts[0]);
            let second = share(total - first, cuts[1]);
            let third = share(total - first - second, cuts[2]);
            let fourth = total - first - second - third;
            let counts = tokens(first, second, third + fourth, fourth, max_tokens);
            prop_assert!(price.cost(&counts) <= worst.cost, "{counts:?} {worst:?}");
        }
    }
}
