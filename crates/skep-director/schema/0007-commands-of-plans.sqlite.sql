-- What a command's commit is resolved from; a command that waits for other jobs has no commit yet.
ALTER TABLE shell_request ADD COLUMN base_from TEXT;
