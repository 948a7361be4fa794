package dnswire

import "encoding/binary"

// Question is what is asked: a canonical name, a type and a class. It is comparable.
type Question struct {
	Name  Name
	Type  Type
	Class Class
}

// String returns the question in presentation form, such as "www.example. IN AAAA".
func (q Question) String() string {
	return q.Name.String() + " " + q.Class.String() + " " + q.Type.String()
}

// AppendKey appends the cache key of q; see the function AppendKey.
func (q Question) AppendKey(dst []byte, do, cd bool) []byte {
	dst = append(dst, q.Name...)
	return appendKeyTail(dst, q.Type, q.Class, do, cd)
}

// QueryOptions are the parts of a request besides its question.
type QueryOptions struct {
	RD      bool   // recursion desired
	CD      bool   // checking disabled
	AD      bool   // the client understands AD (RFC 6840 section 5.7)
	DO      bool   // DNSSEC records wanted; needs UDPSize
	UDPSize uint16 // greatest answer taken over UDP, in octets; 0: no OPT record
	Options []byte // EDNS options in wire form, as AppendOption makes them
}

// AppendQuery appends a request for q with the given id to dst.
func AppendQuery(dst []byte, id uint16, q Question, o QueryOptions) []byte {
	h := Header{ID: id, QD: 1}
	if o.RD {
		h.Flags |= FlagRD
	}
	if o.CD {
		h.Flags |= FlagCD
	}
	if o.AD {
		h.Flags |= FlagAD
	}
	if o.UDPSize != 0 {
		h.AR = 1
	}
	dst = h.append(dst)
	dst = append(dst, q.Name...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(q.Type))
	dst = binary.BigEndian.AppendUint16(dst, uint16(q.Class))
	if o.UDPSize != 0 {
		dst = appendOPT(dst, OPT{UDPSize: o.UDPSize, DO: o.DO, Options: o.Options})
	}
	return dst
}

// Flags of a cache key's last octet.
const (
	keyDO = 1 << iota
	keyCD
)

// AppendKey appends the cache key of a question: the uncompressed name in lower case, type and
// class as on the wire, and one octet of flags. So all of it but the last octet is the question as
// it stands in a message whose name is in lower case. At most MaxKeyLen octets are appended.
func AppendKey(dst, name []byte, t Type, c Class, do, cd bool) []byte {
	at := len(dst)
	dst = append(dst, name...)
	lowerAll(dst[at:])
	return appendKeyTail(dst, t, c, do, cd)
}

func appendKeyTail(dst []byte, t Type, c Class, do, cd bool) []byte {
	var flags byte
	if do {
		flags |= keyDO
	}
	if cd {
		flags |= keyCD
	}
	return append(dst, byte(t>>8), byte(t), byte(c>>8), byte(c), flags)
}

// AppendReply appends the start of a reply to q: the header with q's id, opcode, RD and CD, the
// given flags besides QR (FlagAA, FlagRA, FlagAD, FlagTC), the lower four bits of rcode, and the
// question, its case kept, if q has one. A greater rcode needs an OPT record; see AddOPT.
func AppendReply(dst []byte, q *Query, flags uint16, rcode RCode) []byte {
	keep := q.Header.Flags & (opcodeMask | FlagRD | FlagCD)
	flags &= FlagAA | FlagTC | FlagRA | FlagAD
	h := Header{ID: q.Header.ID, Flags: FlagQR | keep | flags | uint16(rcode&rcodeMask)}
	if q.QEnd == 0 {
		return h.append(dst)
	}
	h.QD = 1
	dst = h.append(dst)
	dst = append(dst, q.Name...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(q.Type))
	return binary.BigEndian.AppendUint16(dst, uint16(q.Class))
}

// AddRR appends a record to the whole message msg and counts it in its section. Records must come
// in the order of the sections. A nil owner stands for the question's name, as a pointer to it;
// others are names in wire form. rdata is taken as it is and must be shorter than 64 KiB.
func AddRR(msg []byte, s Section, owner []byte, t Type, c Class, ttl uint32, rdata []byte) []byte {
	if owner == nil {
		msg = append(msg, labelKindMask, HeaderLen)
	} else {
		msg = append(msg, owner...)
	}
	msg = binary.BigEndian.AppendUint16(msg, uint16(t))
	msg = binary.BigEndian.AppendUint16(msg, uint16(c))
	msg = binary.BigEndian.AppendUint32(msg, ttl)
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(rdata)))
	msg = append(msg, rdata...)
	count := msg[6+2*int(s):]
	binary.BigEndian.PutUint16(count, binary.BigEndian.Uint16(count)+1)
	return msg
}
