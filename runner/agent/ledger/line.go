package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strconv"
)

// A line is "crc length json\n", both numbers in 8 hex digits; the sum is over
// all that follows it but the newline. The length lets a reader find the next
// record when the newline between two is what was damaged.
const prefix = 8 + 1 + 8 + 1

// No record is longer: a damaged length must not cost a pass over the file.
const maxRecord = 33 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encode(r record) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if len(body) > maxRecord {
		return nil, fmt.Errorf("ledger: record of %d bytes, want at most %d", len(body), maxRecord)
	}
	rest := fmt.Appendf(nil, "%08x ", len(body))
	rest = append(rest, body...)
	line := fmt.Appendf(nil, "%08x ", crc32.Checksum(rest, castagnoli))
	return append(append(line, rest...), '\n'), nil
}

// parse finds every whole record, wherever the damage between them lies.
func parse(raw []byte) (records []record, damage []string) {
	raw = bytes.TrimRight(raw, "\x00") // room that was allocated and not used
	bad := -1                          // where the present run of unreadable bytes began
	note := func(end int) {
		if bad >= 0 && end == len(raw) {
			damage = append(damage, fmt.Sprintf("its last %d bytes are no whole record", end-bad))
		} else if bad >= 0 {
			damage = append(damage, fmt.Sprintf("%d bytes at offset %d are unreadable", end-bad, bad))
		}
		bad = -1
	}
	for at := 0; at < len(raw); {
		if r, n := decode(raw[at:]); n > 0 {
			note(at)
			records = append(records, r)
			at += n
			if at < len(raw) && raw[at] == '\n' {
				at++
			} else if at < len(raw) {
				bad = at
			}
			continue
		}
		if bad < 0 {
			bad = at
		}
		at++
	}
	note(len(raw))
	return records, damage
}

// decode reads the record that begins at b; n is 0 if none does.
func decode(b []byte) (r record, n int) {
	if len(b) < prefix || b[8] != ' ' || b[17] != ' ' {
		return r, 0
	}
	sum, ok1 := hex8(b[:8])
	size, ok2 := hex8(b[9:17])
	if !ok1 || !ok2 || size > maxRecord || len(b) < prefix+int(size) {
		return r, 0
	}
	n = prefix + int(size)
	if crc32.Checksum(b[9:n], castagnoli) != sum || json.Unmarshal(b[prefix:n], &r) != nil {
		return record{}, 0
	}
	return r, n
}

// hex8 takes lower case only, so that a flipped bit never spells the same number.
func hex8(b []byte) (uint32, bool) {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(string(b), 16, 32)
	return uint32(n), err == nil
}
