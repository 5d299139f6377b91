//! The body of a call, in the form of the Messages API.

use crate::record::Question;
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// Said to the model when its answer has to fit a schema.
const SCHEMA_RULE: &str = "Answer with one JSON document and nothing else: no words around it. It \
    must be valid against this JSON Schema:\n";

/// The request for `question`. The same question gives the same bytes, with what does not change
/// from call to call in front, for the vendor's prompt cache.
pub(super) fn compose(model: &str, question: &Question) -> Bytes {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model));
    body.insert("max_tokens".to_owned(), json!(question.max_output_tokens));
    if let Some(temperature) = question.temperature {
        body.insert("temperature".to_owned(), json!(temperature));
    }
    let system = system(question);
    if !system.is_empty() {
        body.insert("system".to_owned(), Value::Array(system));
    }
    let messages = question.messages.iter().map(|message| {
        json!({ "role": message.role, "content": [{ "type": "text", "text": message.text }] })
    });
    body.insert("messages".to_owned(), messages.collect());
    Value::Object(body).to_string().into()
}

fn system(question: &Question) -> Vec<Value> {
    let rule = question
        .schema
        .as_ref()
        .map(|schema| format!("{SCHEMA_RULE}{schema}"));
    let texts = question.system.iter().cloned().chain(rule);
    texts
        .map(|text| json!({ "type": "text", "text": text }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_api::CallMessage;

    fn check(question: &Question, expected: &str) {
        let body = compose("m", question);
        assert_eq!(String::from_utf8(body.to_vec()).unwrap(), expected);
    }

    #[test]
    fn a_question_becomes_a_request() {
        let mut question = Question {
            system: None,
            messages: vec![CallMessage {
                role: "user".to_owned(),
                text: "why \"so\"?".to_owned(),
            }],
            max_output_tokens: 7,
            temperature: None,
            schema: None,
        };
        let messages =
            r#""messages":[{"role":"user","content":[{"type":"text","text":"why \"so\"?"}]}]}"#;
        check(
            &question,
            &format!(r#"{{"model":"m","max_tokens":7,{messages}"#),
        );
        question.system = Some("be brief".to_owned());
        question.temperature = Some(0.5);
        question.schema = Some(json!({ "type": "string" }));
        let rule = json!(format!("{SCHEMA_RULE}{{\"type\":\"string\"}}"));
        check(
            &question,
            &format!(
                r#"{{"model":"m","max_tokens":7,"temperature":0.5,"system":[{{"type":"text","text":"be brief"}},{{"type":"text","text":{rule}}}],{messages}"#
            ),
        );
    }
}
