package trackbed

// What every call is made of: text that goes in, bytes that come out, structs that hold text.

/*
#cgo pkg-config: trackbed-c
#include <stdlib.h>
#include <trackbed.h>
*/
import "C"

import (
	"math"
	"sort"
	"time"
	"unsafe"
)

// Version is that of the library that was loaded: "0.1.0".
func Version() string { return C.GoString(C.trackbed_version()) }

var nothing [1]byte

// chars is where the bytes of a text are, for a call that keeps nothing of them; with sizeOf.
func chars(text string) *C.char {
	if text == "" {
		return (*C.char)(unsafe.Pointer(&nothing))
	}
	return *(**C.char)(unsafe.Pointer(&text)) // a string begins with the pointer to its bytes
}

func sizeOf(text string) C.size_t { return C.size_t(len(text)) }

// The same of bytes.
func data(bytes []byte) *C.char {
	if len(bytes) == 0 {
		return (*C.char)(unsafe.Pointer(&nothing))
	}
	return (*C.char)(unsafe.Pointer(&bytes[0]))
}

// goString copies a text that is borrowed.
func goString(text C.trackbed_string) string {
	if text.size == 0 {
		return ""
	}
	return string(unsafe.Slice((*byte)(unsafe.Pointer(text.data)), int(text.size)))
}

// taken copies bytes that the library made, and frees them.
func taken(bytes *C.trackbed_bytes) []byte {
	defer C.trackbed_bytes_free(bytes)
	return append([]byte{}, unsafe.Slice((*byte)(unsafe.Pointer(bytes.data)), int(bytes.size))...)
}

// arena holds what structs point to for the time of a call, out of the sight of the garbage
// collector, as the rules of cgo want it.
type arena []unsafe.Pointer

func (a *arena) allocate(size uintptr) unsafe.Pointer {
	block := C.calloc(1, C.size_t(size)) // never nil: cgo ends the program when memory is out
	*a = append(*a, block)
	return block
}

func (a *arena) free() {
	for _, block := range *a {
		C.free(block)
	}
	*a = nil
}

func (a *arena) text(text string) C.trackbed_string {
	if text == "" {
		return C.trackbed_string{}
	}
	block := a.allocate(uintptr(len(text)))
	copy(unsafe.Slice((*byte)(block), len(text)), text)
	return C.trackbed_string{data: (*C.char)(block), size: sizeOf(text)}
}

func (a *arena) texts(texts []string) (*C.trackbed_string, C.size_t) {
	if len(texts) == 0 {
		return nil, 0
	}
	block := (*C.trackbed_string)(a.allocate(uintptr(len(texts)) * C.sizeof_trackbed_string))
	for i, text := range texts {
		unsafe.Slice(block, len(texts))[i] = a.text(text)
	}
	return block, C.size_t(len(texts))
}

func (a *arena) slots(slots Slots) (*C.trackbed_slot, C.size_t) {
	if len(slots) == 0 {
		return nil, 0
	}
	names := make([]string, 0, len(slots))
	for name := range slots {
		names = append(names, name)
	}
	sort.Strings(names) // the same request is always the same call
	block := (*C.trackbed_slot)(a.allocate(uintptr(len(slots)) * C.sizeof_trackbed_slot))
	for i, name := range names {
		unsafe.Slice(block, len(slots))[i] = C.trackbed_slot{
			name: a.text(name), thousandths: C.int64_t(slots[name]),
		}
	}
	return block, C.size_t(len(slots))
}

func (a *arena) numbers(tenants []TenantID) *C.uint32_t {
	block := (*C.uint32_t)(a.allocate(uintptr(len(tenants)) * C.sizeof_uint32_t))
	for i, tenant := range tenants {
		unsafe.Slice(block, len(tenants))[i] = C.uint32_t(tenant)
	}
	return block
}

// never is where an absent time stands in results.
const never = C.INT64_MAX

func nanoseconds(t time.Time) C.int64_t {
	if t.IsZero() {
		return 0
	}
	return C.int64_t(t.UnixNano())
}

func goTime(nanoseconds C.int64_t) time.Time {
	if nanoseconds == never {
		return time.Time{}
	}
	return time.Unix(0, int64(nanoseconds)).UTC()
}

// Numbers of Go's, as far as they go: what is more than everything is refused as such.

func signed(number int) C.int32_t {
	if number > math.MaxInt32 {
		return math.MaxInt32
	}
	if number < math.MinInt32 {
		return math.MinInt32
	}
	return C.int32_t(number)
}

func unsigned(number int) C.uint32_t {
	if number < 0 || number > math.MaxUint32 {
		return math.MaxUint32
	}
	return C.uint32_t(number)
}

func flag(set bool) C.int32_t {
	if set {
		return 1
	}
	return 0
}
