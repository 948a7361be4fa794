package dnswire

import "errors"

// Reasons for which a name inside a message is refused.
var (
	ErrNameTruncated = errors.New("name runs past the end of the message")
	ErrBadLabel      = errors.New("label of a reserved type")
	ErrBadPointer    = errors.New("compression pointer that does not point backwards")
	ErrManyPointers  = errors.New("more than 127 compression pointers in a name")
)

const (
	labelKindMask = 0xc0 // the two bits that tell a label from a pointer (RFC 1035 section 4.1.4)
	pointerMask   = 0x3fff
)

// SkipName returns the offset after the name at off, following no pointer: it checks that the
// labels fit, that the name is no longer than 255 octets up to its end or its pointer, and that the
// pointer, if one ends it, points before the name and not into the header.
func SkipName(msg []byte, off int) (next int, err error) {
	start := off
	for off >= 0 && off < len(msg) {
		c := msg[off]
		switch {
		case c == 0:
			if off+1-start > MaxNameLen {
				return 0, ErrNameTooLong
			}
			return off + 1, nil
		case c&labelKindMask == labelKindMask:
			_, err := pointer(msg, off, start)
			return off + 2, err
		case c&labelKindMask != 0:
			return 0, ErrBadLabel
		}
		off += 1 + int(c)
		if off-start >= MaxNameLen {
			return 0, ErrNameTooLong
		}
	}
	return 0, ErrNameTruncated
}

// pointer reads the compression pointer at off of a name whose labels began at start.
func pointer(msg []byte, off, start int) (int, error) {
	if off+2 > len(msg) {
		return 0, ErrNameTruncated
	}
	to := (int(msg[off])<<8 | int(msg[off+1])) & pointerMask
	if to >= start || to < HeaderLen {
		return 0, ErrBadPointer
	}
	return to, nil
}

// AppendName appends the name at off in uncompressed wire form, letters as they are, and returns the
// offset after the name's own octets. A pointer must point before the labels that led to it, so
// that no loop is possible, and pointers and length are bounded. On an error dst is returned
// as it was.
func AppendName(dst, msg []byte, off int) (name []byte, next int, err error) {
	at := len(dst)
	start, pointers := off, 0
	for off >= 0 && off < len(msg) {
		c := msg[off]
		switch {
		case c == 0:
			if next == 0 {
				next = off + 1
			}
			return append(dst, 0), next, nil
		case c&labelKindMask == labelKindMask:
			if next == 0 {
				next = off + 2
			}
			if off, err = pointer(msg, off, start); err != nil {
				return dst[:at], 0, err
			}
			if pointers++; pointers > maxPointers {
				return dst[:at], 0, ErrManyPointers
			}
			start = off
			continue
		case c&labelKindMask != 0:
			return dst[:at], 0, ErrBadLabel
		}
		end := off + 1 + int(c)
		if end > len(msg) {
			return dst[:at], 0, ErrNameTruncated
		}
		if len(dst)-at+end-off >= MaxNameLen {
			return dst[:at], 0, ErrNameTooLong
		}
		dst = append(dst, msg[off:end]...)
		off = end
	}
	return dst[:at], 0, ErrNameTruncated
}

// ExpandName returns the name at off, in lower case, and the offset after the name's own octets.
func ExpandName(msg []byte, off int) (Name, int, error) {
	var buf [MaxNameLen]byte
	wire, next, err := AppendName(buf[:0], msg, off)
	if err != nil {
		return "", 0, err
	}
	lowerAll(wire)
	return Name(wire), next, nil
}

// lowerAll turns the ASCII capitals of an uncompressed name into lower case. Length octets are at
// most 63 and so are never taken for letters.
func lowerAll(b []byte) {
	for i, c := range b {
		b[i] = lower(c)
	}
}

// equalFold reports whether two uncompressed names are equal but for the case of ASCII letters.
func equalFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if lower(c) != lower(b[i]) {
			return false
		}
	}
	return true
}
