-- What SRT publishers of an input must know besides its key: sealed, to show it again. None: not encrypted.
ALTER TABLE inputs ADD COLUMN srt_passphrase BLOB;
