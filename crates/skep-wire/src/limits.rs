//! What this crate refuses to hold, each with its reason.

/// One line of an event stream, in bytes. A Messages event is one line; the largest carry a whole
/// server tool result, which stays under a few megabytes.
pub const SSE_LINE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The data of one event, in bytes. Events of several lines are rare, so little more than a line.
pub const SSE_EVENT_BYTES_MAX: usize = 12 * 1024 * 1024;

/// The body of an answer without streaming that is kept to read its usage, in bytes: the longest
/// output of today's models (128,000 tokens) is under a megabyte of text.
pub const JSON_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// All blocks of one streamed message together, in bytes; see [`JSON_ANSWER_BYTES_MAX`].
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Content blocks of one streamed message. A turn with a hundred parallel tool calls is already
/// beyond what any model does.
pub const MESSAGE_BLOCKS_MAX: usize = 1024;

/// The name of a model, in bytes. The longest known (cloud resource names) have about 150.
pub const MODEL_NAME_BYTES_MAX: usize = 256;

/// The text of a vendor's error that is kept, in bytes: enough for a person, too little for a dump.
pub const ERROR_TEXT_BYTES_MAX: usize = 4 * 1024;
