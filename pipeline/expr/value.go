package expr

import (
	"fmt"
	"maps"
)

// Kind is the type of a Value.
type Kind uint8

// Kinds.
const (
	KindNull Kind = iota
	KindBool
	KindNumber
	KindString
	KindArray
	KindObject
)

// String returns GitHub's name of the kind, which is also what an array or object becomes as a string.
func (k Kind) String() string {
	switch k {
	case KindNull:
		return "Null"
	case KindBool:
		return "Boolean"
	case KindNumber:
		return "Number"
	case KindString:
		return "String"
	case KindArray:
		return "Array"
	case KindObject:
		return "Object"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Value is one value of an expression. The zero Value is null. Arrays and objects are references, and equal only to
// themselves; do not change what a Value holds once an expression may see it, except by Object.Set.
type Value struct {
	kind Kind
	num  float64 // of a number; 1 of true
	str  string
	arr  *array
	obj  *Object
}

type array struct {
	items []Value
	// filtered marks the result of `.*`, to whose items the next accessor applies.
	filtered bool
}

// Null is the null value.
func Null() Value { return Value{} }

// Bool makes a boolean.
func Bool(b bool) Value {
	if b {
		return Value{kind: KindBool, num: 1}
	}
	return Value{kind: KindBool}
}

// Number makes a number.
func Number(n float64) Value { return Value{kind: KindNumber, num: n} }

// String makes a string.
func String(s string) Value { return Value{kind: KindString, str: s} }

// Array makes an array of items, which it keeps.
func Array(items []Value) Value { return Value{kind: KindArray, arr: &array{items: items}} }

func filteredArray(items []Value) Value {
	return Value{kind: KindArray, arr: &array{items: items, filtered: true}}
}

// Kind returns the type of v.
func (v Value) Kind() Kind { return v.kind }

// IsNull reports whether v is null.
func (v Value) IsNull() bool { return v.kind == KindNull }

// IsPrimitive reports whether v is neither an array nor an object.
func (v Value) IsPrimitive() bool { return v.kind < KindArray }

// Items returns the items of an array, nil of anything else. Not to be changed.
func (v Value) Items() []Value {
	if v.kind != KindArray {
		return nil
	}
	return v.arr.items
}

// Object returns the object that v is, nil if it is none.
func (v Value) Object() *Object {
	if v.kind != KindObject {
		return nil
	}
	return v.obj
}

// Get returns the named property of an object; null if there is none, or if v is no object.
func (v Value) Get(key string) Value {
	if v.kind != KindObject {
		return Value{}
	}
	found, _ := v.obj.Get(key)
	return found
}

// Pair is one property of an object.
type Pair struct {
	Key   string
	Value Value
}

// Object is a mapping that keeps the order of its keys. Lookup ignores case, unless the object was made case-sensitive.
type Object struct {
	pairs []Pair
	// index of pairs by folded key, nil for few; of a With it is the original's, and may name pairs that came to that one later.
	index         map[string]int
	shared        bool
	caseSensitive bool
}

// indexFrom is the number of keys from which lookup goes through a map.
const indexFrom = 8

// NewObject makes an object of pairs; of keys that are the same, the first one's spelling and the last one's value stay.
func NewObject(pairs ...Pair) *Object {
	o := &Object{pairs: make([]Pair, 0, len(pairs))}
	for _, p := range pairs {
		o.Set(p.Key, p.Value)
	}
	return o
}

// With returns a copy with some properties set, as Set does it.
func (o *Object) With(pairs ...Pair) *Object {
	out := &Object{pairs: append(make([]Pair, 0, len(o.pairs)+len(pairs)), o.pairs...), index: o.index, shared: true, caseSensitive: o.caseSensitive}
	for _, p := range pairs {
		out.Set(p.Key, p.Value)
	}
	return out
}

// NewCaseSensitiveObject makes an object whose lookup minds case, as the env context does on Linux.
func NewCaseSensitiveObject(pairs ...Pair) *Object {
	o := &Object{caseSensitive: true}
	for _, p := range pairs {
		o.Set(p.Key, p.Value)
	}
	return o
}

// Value returns the object as a Value. It shares: a later Set is seen through it.
func (o *Object) Value() Value { return Value{kind: KindObject, obj: o} }

// Len returns the number of properties.
func (o *Object) Len() int { return len(o.pairs) }

// Pairs returns the properties in order. Not to be changed.
func (o *Object) Pairs() []Pair { return o.pairs }

// Get returns the named property.
func (o *Object) Get(key string) (Value, bool) {
	if i := o.find(key); i >= 0 {
		return o.pairs[i].Value, true
	}
	return Value{}, false
}

// Set adds a property at the end, or replaces the value of one that is there, keeping its place and spelling.
// Not safe beside any other use of the object.
func (o *Object) Set(key string, v Value) {
	if i := o.find(key); i >= 0 {
		o.pairs[i].Value = v
		return
	}
	o.pairs = append(o.pairs, Pair{key, v})
	switch {
	case o.index != nil:
		if o.shared {
			o.index, o.shared = maps.Clone(o.index), false
		}
		o.index[o.fold(key)] = len(o.pairs) - 1
	case len(o.pairs) == indexFrom:
		o.index, o.shared = make(map[string]int, max(cap(o.pairs), 2*indexFrom)), false
		for i, p := range o.pairs {
			o.index[o.fold(p.Key)] = i
		}
	}
}

func (o *Object) fold(key string) string {
	if o.caseSensitive {
		return key
	}
	return fold(key)
}

func (o *Object) is(i int, key string) bool {
	k := o.pairs[i].Key
	return k == key || !o.caseSensitive && equalFold(k, key)
}

func (o *Object) find(key string) int {
	if o.index != nil {
		if i, ok := o.index[o.fold(key)]; ok && i < len(o.pairs) && o.is(i, key) {
			return i
		}
		return -1
	}
	for i := range o.pairs {
		if o.is(i, key) {
			return i
		}
	}
	return -1
}
