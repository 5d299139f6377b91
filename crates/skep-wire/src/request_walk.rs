//! The one pass over a Messages request that [`crate::request_head`] reports from.
//!
//! Owns the facts while they are gathered. Invariant: every object that is read has unique keys,
//! and what an opaque value holds (a tool's input, a schema) is never taken for the request's own.

use crate::request_head::Unbounded;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) model: Option<(String, Range<usize>)>,
    pub(crate) stream: bool,
    pub(crate) max_tokens: Option<i64>,
    pub(crate) inline_images: u32,
    pub(crate) unbounded: BTreeSet<Unbounded>,
    pub(crate) service_tier: Option<String>,
    pub(crate) speed: Option<String>,
    pub(crate) inference_geo: Option<String>,
}

/// The outermost object.
pub(crate) struct Root<'a, 'de> {
    pub(crate) body: &'de [u8],
    pub(crate) facts: &'a mut Facts,
}

impl<'de> Visitor<'de> for Root<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { body, facts } = self;
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "model" => facts.model = Some(model_at(body, map.next_value()?)?),
                "stream" => facts.stream = map.next_value()?,
                "max_tokens" => facts.max_tokens = Some(not_negative(map.next_value()?)?),
                "service_tier" => facts.service_tier = map.next_value()?,
                "speed" => facts.speed = map.next_value()?,
                "inference_geo" => facts.inference_geo = map.next_value()?,
                other => {
                    let place = Place::of_root_key(other);
                    let value = map.next_value_seed(Walk { place, facts })?;
                    if value.is_something() {
                        facts.unbounded.extend(unbounded_field(other));
                    }
                }
            }
            if !seen.insert(key) {
                return Err(A::Error::custom("an object has a key twice"));
            }
        }
        Ok(())
    }
}

fn model_at<E: serde::de::Error>(body: &[u8], raw: &RawValue) -> Result<(String, Range<usize>), E> {
    let name = serde_json::from_str::<String>(raw.get())
        .map_err(|_| E::custom("`model` is not a string"))?;
    // `raw` borrows from `body`, so the difference of their addresses is its offset.
    let start = raw.get().as_ptr().addr() - body.as_ptr().addr();
    Ok((name, start..start + raw.get().len()))
}

fn not_negative<E: serde::de::Error>(tokens: i64) -> Result<i64, E> {
    if tokens < 0 {
        return Err(E::custom("`max_tokens` is negative"));
    }
    Ok(tokens)
}

/// Fields of the request that by being there make its cost unbounded.
fn unbounded_field(key: &str) -> Option<Unbounded> {
    match key {
        "mcp_servers" => Some(Unbounded::McpServers),
        "container" => Some(Unbounded::Container),
        "compaction" => Some(Unbounded::Compaction),
        "fallbacks" | "fallback_credit_token" => Some(Unbounded::Fallbacks),
        "thread" => Some(Unbounded::Thread),
        _ => None,
    }
}

/// Where in the request a value stands; decides what is read of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// `messages`: an array of messages.
    Messages,
    Message,
    /// `system` or `content`: text, or an array of blocks.
    Content,
    Block,
    Source,
    /// `tools`: an array of tools.
    Tools,
    Tool,
    /// `context_management`, and its `edits`.
    ContextManagement,
    Edits,
    Edit,
    /// Anything else. Walked for its nesting alone.
    Opaque,
}

impl Place {
    fn of_root_key(key: &str) -> Self {
        match key {
            "messages" => Self::Messages,
            "system" => Self::Content,
            "tools" => Self::Tools,
            "context_management" => Self::ContextManagement,
            _ => Self::Opaque,
        }
    }

    /// The place of an array's elements.
    const fn element(self) -> Self {
        match self {
            Self::Messages => Self::Message,
            Self::Content => Self::Block,
            Self::Tools => Self::Tool,
            Self::Edits => Self::Edit,
            Self::Message
            | Self::Block
            | Self::Source
            | Self::Tool
            | Self::ContextManagement
            | Self::Edit
            | Self::Opaque => Self::Opaque,
        }
    }

    /// The place of the value under `key`.
    fn field(self, key: &str) -> Self {
        match (self, key) {
            (Self::Message | Self::Block | Self::Source, "content") => Self::Content,
            (Self::Block, "source") => Self::Source,
            (Self::ContextManagement, "edits") => Self::Edits,
            // A tool result may hold one block where it usually holds an array.
            (Self::Content, "source") => Self::Source,
            (Self::Content, "content") => Self::Content,
            _ => Self::Opaque,
        }
    }

    /// Whether an object at this place is read, so that its keys must be unique.
    const fn is_read(self) -> bool {
        !matches!(self, Self::Opaque)
    }
}

/// What a walked value was.
enum Shape<'de> {
    /// `null`, `false`, an empty array or an empty object.
    Nothing,
    Text(Cow<'de, str>),
    Something,
}

impl Shape<'_> {
    const fn is_something(&self) -> bool {
        !matches!(self, Self::Nothing)
    }

    const fn of(something: bool) -> Self {
        if something {
            Self::Something
        } else {
            Self::Nothing
        }
    }
}

struct Walk<'a> {
    place: Place,
    facts: &'a mut Facts,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Shape<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Shape<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Shape<'de>, E> {
        Ok(Shape::Nothing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Shape<'de>, E> {
        Ok(Shape::of(value))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Shape<'de>, E> {
        Ok(Shape::Something)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Shape<'de>, E> {
        Ok(Shape::Something)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Shape<'de>, E> {
        Ok(Shape::Something)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Shape<'de>, E> {
        Ok(Shape::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Shape<'de>, E> {
        Ok(Shape::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape<'de>, A::Error> {
        let place = self.place.element();
        let mut any = false;
        while seq
            .next_element_seed(Walk {
                place,
                facts: &mut *self.facts,
            })?
            .is_some()
        {
            any = true;
        }
        Ok(Shape::of(any))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape<'de>, A::Error> {
        let Self { place, facts } = self;
        let mut seen = BTreeSet::new();
        let mut any = false;
        let mut object = ReadObject::default();
        while let Some(key) = map.next_key_seed(Key)? {
            any = true;
            let value = map.next_value_seed(Walk {
                place: place.field(&key),
                facts: &mut *facts,
            })?;
            if !place.is_read() {
                continue;
            }
            match (key.as_ref(), value) {
                ("type", Shape::Text(text)) => object.kind = Some(text),
                ("type", _) => return Err(A::Error::custom("a `type` is not a string")),
                ("media_type", Shape::Text(text)) => object.media_type = Some(text),
                ("file_id", value) => object.has_file = value.is_something(),
                _ => {}
            }
            if !seen.insert(key) {
                return Err(A::Error::custom("an object has a key twice"));
            }
        }
        object.note(place, facts);
        Ok(Shape::of(any))
    }
}

/// A key, borrowed from the body unless it holds escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// What is read of an object, whatever the order of its keys.
#[derive(Default)]
struct ReadObject<'de> {
    kind: Option<Cow<'de, str>>,
    media_type: Option<Cow<'de, str>>,
    has_file: bool,
}

impl ReadObject<'_> {
    fn note(&self, place: Place, facts: &mut Facts) {
        let kind = self.kind.as_deref();
        match place {
            Place::Block | Place::Content => self.note_block(facts),
            Place::Source => self.note_source(facts),
            Place::Tool => {
                if let Some(kind) = kind.filter(|kind| !runs_at_the_client(kind)) {
                    let tool = Unbounded::ServerTool(short(kind));
                    facts.unbounded.insert(tool);
                }
            }
            Place::Edit => {
                if kind.is_some_and(|kind| kind.starts_with("compact")) {
                    facts.unbounded.insert(Unbounded::Compaction);
                }
            }
            Place::Messages
            | Place::Message
            | Place::Tools
            | Place::ContextManagement
            | Place::Edits
            | Place::Opaque => {}
        }
    }

    fn note_block(&self, facts: &mut Facts) {
        match self.kind.as_deref() {
            Some("image") => facts.inline_images = facts.inline_images.saturating_add(1),
            Some("container_upload") => {
                facts.unbounded.insert(Unbounded::Container);
            }
            _ => {}
        }
        if self.has_file {
            facts.unbounded.insert(Unbounded::StoredFile);
        }
    }

    fn note_source(&self, facts: &mut Facts) {
        let media_type = self.media_type.as_deref().unwrap_or_default();
        let unbounded = match self.kind.as_deref().unwrap_or_default() {
            "base64" if media_type == "application/pdf" => Unbounded::Pdf,
            "base64" if media_type.starts_with("image/") => return,
            "text" | "content" => return,
            "url" => Unbounded::UrlSource,
            "file" => Unbounded::StoredFile,
            other => Unbounded::UnknownSource(short(other)),
        };
        facts.unbounded.insert(unbounded);
    }
}

/// Tool types that the client runs itself; their whole cost is tokens in the body.
fn runs_at_the_client(kind: &str) -> bool {
    const CLIENT_TOOLS: [&str; 4] = ["bash_", "text_editor_", "computer_", "memory_"];
    kind == "custom" || CLIENT_TOOLS.iter().any(|prefix| kind.starts_with(prefix))
}

/// A type's name at a length fit for an error.
fn short(kind: &str) -> String {
    const SHOWN_BYTES_MAX: usize = 64;
    kind[..kind.floor_char_boundary(SHOWN_BYTES_MAX)].to_owned()
}
