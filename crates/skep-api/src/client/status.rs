//! The status of a refusal carries the exit code of the command line, and the other way round.

use http::StatusCode;

/// The exit code that an HTTP status stands for; `document` decides where the status leaves it open.
pub fn exit_of_status(status: StatusCode, document: u8) -> u8 {
    match status.as_u16() {
        401 | 403 => 3,
        404 => 4,
        409 | 422 => document,
        500.. => 5,
        _ => 2,
    }
}

/// The HTTP status that carries an exit code of the command line.
pub const fn status_of_exit(exit: u8) -> StatusCode {
    match exit {
        2 => StatusCode::BAD_REQUEST,
        3 => StatusCode::FORBIDDEN,
        4 => StatusCode::NOT_FOUND,
        5 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::CONFLICT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_and_an_exit_code_stand_for_each_other() {
        for exit in 1..=5 {
            assert_eq!(exit_of_status(status_of_exit(exit), 1), exit);
        }
        assert_eq!(exit_of_status(StatusCode::UNAUTHORIZED, 1), 3);
        assert_eq!(exit_of_status(StatusCode::PAYLOAD_TOO_LARGE, 1), 2);
        assert_eq!(exit_of_status(StatusCode::BAD_GATEWAY, 1), 5);
        assert_eq!(exit_of_status(StatusCode::UNPROCESSABLE_ENTITY, 3), 3);
    }
}
