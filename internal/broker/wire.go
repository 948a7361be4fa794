package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// Version is the version of the protocol that this package speaks.
const Version = 2

const (
	// MaxMessage is the length of the longest message, octets.
	MaxMessage = 512
	// MaxText is the length of the longest text in a message, octets.
	MaxText = 256
)

// magic begins the server's greeting.
const magic = "mpbroker"

// The kinds of messages.
const (
	kindGreeting = iota + 1
	kindAttach
	kindAttached
	kindRequest
	kindReply
	kindEvent
	kindEnd
)

// opcode is what a request asks for.
type opcode uint8

const (
	opCreate opcode = iota + 1
	opDestroy
	opBackup
	opAnnounce
	opRemove
	opReport
	opLookUp
)

// String returns the operation as an [mptcp.OpError] names it.
func (op opcode) String() string {
	switch op {
	case opCreate:
		return "create subflow"
	case opDestroy:
		return "destroy subflow"
	case opBackup:
		return "set backup"
	case opAnnounce:
		return "announce address"
	case opRemove:
		return "remove address"
	case opReport:
		return "report outcome"
	case opLookUp:
		return "look up outcomes"
	}
	return fmt.Sprintf("operation %d", uint8(op))
}

// code is how a request ended.
type code uint8

const (
	codeDone    code = iota
	codeKernel       // an *mptcp.OpError
	codeRefused      // ErrRefused
	codeFailed       // anything else
	codeKnown        // done, with the answer of a look-up
)

// The messages.
type (
	greeting struct{ Version uint16 }
	attach   struct{ Version uint16 }
	attached struct{ Token uint32 }
	request  struct {
		ID      uint32
		Op      opcode
		Subflow mptcp.Subflow  // create, destroy, backup
		Backup  bool           // backup: the new value
		AddrID  uint8          // announce, remove
		Addr    netip.AddrPort // announce
		Name    string         // report, look up
		Addrs   []netip.Addr   // report: one; look up: 1 to MaxLookup
		Outcome Outcome        // report
	}
	reply struct {
		ID    uint32
		Code  code
		Errno syscall.Errno // codeKernel
		Text  string        // but for codeKnown
		Known []known       // codeKnown: one for each address
	}
	event struct{ mptcp.Event } // without its token
	end   struct{ Text string }
)

// message is one of the messages above.
type message interface {
	append(b []byte) []byte
}

func (m greeting) append(b []byte) []byte {
	return binary.BigEndian.AppendUint16(append(append(b, kindGreeting), magic...), m.Version)
}

func (m attach) append(b []byte) []byte {
	return binary.BigEndian.AppendUint16(append(b, kindAttach), m.Version)
}

func (m attached) append(b []byte) []byte {
	return binary.BigEndian.AppendUint32(append(b, kindAttached), m.Token)
}

func (m request) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, kindRequest), m.ID)
	b = append(b, byte(m.Op))
	switch m.Op {
	case opCreate, opDestroy, opBackup:
		b = appendAddrPort(b, m.Subflow.Local)
		b = appendAddrPort(b, m.Subflow.Remote)
		b = append(b, m.Subflow.LocalID)
		b = appendBool(b, m.Subflow.Backup)
		b = binary.BigEndian.AppendUint32(b, uint32(m.Subflow.IfIndex))
		if m.Op == opBackup {
			b = appendBool(b, m.Backup)
		}
	case opAnnounce:
		b = appendAddrPort(append(b, m.AddrID), m.Addr)
	case opRemove:
		b = append(b, m.AddrID)
	case opReport, opLookUp:
		b = append(b, byte(m.Outcome), byte(len(m.Addrs)))
		for _, a := range m.Addrs {
			b = appendAddr(b, a)
		}
		b = append(b, m.Name...)
	}
	return b
}

func (m reply) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, kindReply), m.ID)
	b = binary.BigEndian.AppendUint32(append(b, byte(m.Code)), uint32(m.Errno))
	for _, k := range m.Known {
		b = binary.BigEndian.AppendUint32(appendBool(append(b, byte(k.Outcome)), k.Proven), k.Age)
	}
	return appendText(b, m.Text)
}

// The bits of an event.
const (
	bitBackup = 1 << iota
	bitError
	bitReset
	bitServerSide
	bitsUnknown
)

func (m event) append(b []byte) []byte {
	b = append(b, kindEvent, byte(m.Type))
	b = appendAddrPort(b, m.Local)
	b = appendAddrPort(b, m.Remote)
	b = append(b, m.LocalID, m.RemoteID, m.bits())
	b = binary.BigEndian.AppendUint32(b, uint32(m.Errno))
	b = binary.BigEndian.AppendUint32(b, m.ResetReason)
	b = binary.BigEndian.AppendUint16(b, m.Flags)
	return binary.BigEndian.AppendUint32(b, uint32(m.IfIndex))
}

func (m event) bits() byte {
	var bits byte
	if m.Backup {
		bits |= bitBackup
	}
	if m.HasError {
		bits |= bitError
	}
	if m.HasReset {
		bits |= bitReset
	}
	if m.ServerSide {
		bits |= bitServerSide
	}
	return bits
}

func (m end) append(b []byte) []byte { return appendText(append(b, kindEnd), m.Text) }

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendAddrPort(b []byte, ap netip.AddrPort) []byte {
	return binary.BigEndian.AppendUint16(appendAddr(b, ap.Addr()), ap.Port())
}

func appendAddr(b []byte, a netip.Addr) []byte {
	a = a.Unmap()
	switch {
	case !a.IsValid():
		b = append(b, 0)
	case a.Is4():
		b = append(b, 4)
	default:
		b = append(b, 6)
	}
	return append(b, a.AsSlice()...)
}

// appendText appends as much of text as a message may hold.
func appendText(b []byte, text string) []byte {
	text = strings.ToValidUTF8(text, "?")
	if len(text) > MaxText {
		text = text[:MaxText]
		for !utf8.ValidString(text) {
			text = text[:len(text)-1]
		}
	}
	return append(b, text...)
}

var (
	errShort    = errors.New("message ends early")
	errLong     = errors.New("message is too long")
	errValue    = errors.New("value out of range")
	errKind     = errors.New("unknown kind of message")
	errMismatch = errors.New("not the broker's protocol")
)

// parse reads one message. What it accepts, append writes in the same octets.
func parse(b []byte) (message, error) {
	if len(b) > MaxMessage {
		return nil, errLong
	}
	d := decoder{rest: b}
	kind := d.u8()
	m := d.message(kind)
	switch {
	case d.err == nil && m == nil:
		d.err = errKind
	case d.err == nil && len(d.rest) > 0:
		d.err = errLong
	}
	if d.err != nil {
		return nil, fmt.Errorf("message of kind %d: %w", kind, d.err)
	}
	return m, nil
}

// decoder reads fields; after an error all of them are zero.
type decoder struct {
	rest []byte
	err  error
}

// message reads what follows the kind; nil is an unknown kind.
func (d *decoder) message(kind uint8) message {
	switch kind {
	case kindGreeting:
		if string(d.take(len(magic))) != magic {
			d.fail(errMismatch)
		}
		return greeting{d.u16()}
	case kindAttach:
		return attach{d.u16()}
	case kindAttached:
		return attached{d.u32()}
	case kindRequest:
		return d.request()
	case kindReply:
		return d.reply()
	case kindEvent:
		return d.event()
	case kindEnd:
		return end{d.text()}
	}
	return nil
}

func (d *decoder) request() message {
	m := request{ID: d.u32(), Op: opcode(d.u8())}
	switch m.Op {
	case opCreate, opDestroy, opBackup:
		m.Subflow = mptcp.Subflow{
			Local: d.addrPort(), Remote: d.addrPort(), LocalID: d.u8(), Backup: d.bool(), IfIndex: d.index(),
		}
		if m.Op == opBackup {
			m.Backup = d.bool()
		}
	case opAnnounce:
		m.AddrID, m.Addr = d.u8(), d.addrPort()
	case opRemove:
		m.AddrID = d.u8()
	case opReport, opLookUp:
		d.verdict(&m)
	default:
		d.fail(errValue)
	}
	return m
}

// verdict reads the fields of a report or a look-up, which has no outcome.
func (d *decoder) verdict(m *request) {
	outcome, n := Outcome(d.u8()), int(d.u8())
	report := m.Op == opReport
	if outcome >= outcomes || (outcome != 0) != report || n < 1 || n > MaxLookup || report && n != 1 {
		d.fail(errValue)
		return
	}
	m.Outcome = outcome
	for range n {
		a := d.addr()
		if !a.IsValid() {
			d.fail(errValue)
		}
		m.Addrs = append(m.Addrs, a)
	}
	if len(d.rest) < 1 || len(d.rest) > MaxName {
		d.fail(errValue)
	}
	m.Name = d.text()
}

// known reads the answer of a look-up.
func (d *decoder) known() (all []known) {
	for d.err == nil && len(d.rest) > 0 {
		k := known{Outcome: Outcome(d.u8()), Proven: d.bool(), Age: d.u32()}
		if all = append(all, k); k.Outcome >= outcomes || len(all) > MaxLookup {
			d.fail(errValue)
		}
	}
	return all
}

func (d *decoder) reply() message {
	m := reply{ID: d.u32(), Code: code(d.u8()), Errno: syscall.Errno(d.u32())}
	if m.Code == codeKnown {
		m.Known = d.known()
	} else {
		m.Text = d.text()
	}
	if m.Code > codeKnown || m.Code == codeKnown && len(m.Known) == 0 || (m.Errno == 0) == (m.Code == codeKernel) {
		d.fail(errValue)
	}
	return m
}

func (d *decoder) event() message {
	m := event{mptcp.Event{
		Type: mptcp.EventType(d.u8()), Local: d.addrPort(), Remote: d.addrPort(), LocalID: d.u8(), RemoteID: d.u8(),
	}}
	bits := d.u8()
	if bits >= bitsUnknown {
		d.fail(errValue)
	}
	m.Backup, m.HasError = bits&bitBackup != 0, bits&bitError != 0
	m.HasReset, m.ServerSide = bits&bitReset != 0, bits&bitServerSide != 0
	m.Errno, m.ResetReason = syscall.Errno(d.u32()), d.u32()
	m.Flags, m.IfIndex = d.u16(), d.index()
	return m
}

// fail notes the first error.
func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// take returns the next n octets, or that many zeros.
func (d *decoder) take(n int) []byte {
	if d.err == nil && len(d.rest) < n {
		d.err = errShort
	}
	if d.err != nil {
		return make([]byte, n)
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) u8() uint8   { return d.take(1)[0] }
func (d *decoder) u16() uint16 { return binary.BigEndian.Uint16(d.take(2)) }
func (d *decoder) u32() uint32 { return binary.BigEndian.Uint32(d.take(4)) }

func (d *decoder) bool() bool {
	b := d.u8()
	if b > 1 {
		d.fail(errValue)
	}
	return b == 1
}

// index reads the index of an interface.
func (d *decoder) index() int {
	n := d.u32()
	if n > math.MaxInt32 {
		d.fail(errValue)
		return 0
	}
	return int(n)
}

func (d *decoder) addrPort() netip.AddrPort { return netip.AddrPortFrom(d.addr(), d.u16()) }

func (d *decoder) addr() (a netip.Addr) {
	switch d.u8() {
	case 0:
	case 4:
		a = netip.AddrFrom4([4]byte(d.take(4)))
	case 6:
		a = netip.AddrFrom16([16]byte(d.take(16)))
	default:
		d.fail(errValue)
	}
	if a.Is4In6() {
		d.fail(errValue)
	}
	return a
}

// text reads the rest of the message.
func (d *decoder) text() string {
	if len(d.rest) > MaxText || !utf8.Valid(d.rest) {
		d.fail(errValue)
	}
	return string(d.take(len(d.rest)))
}
