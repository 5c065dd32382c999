package expr

import "math"

// Equal is `==`: loose, without case, and never true of NaN. Arrays and objects equal only themselves.
func Equal(a, b Value) bool {
	a, b = coerce(a, b)
	if a.kind != b.kind {
		return false
	}
	switch a.kind {
	case KindNull:
		return true
	case KindBool:
		return a.num == b.num
	case KindNumber:
		return a.num == b.num
	case KindString:
		return equalFold(a.str, b.str)
	case KindArray:
		return a.arr == b.arr
	case KindObject:
		return a.obj == b.obj
	}
	return false
}

// less is `<`; `>` is less with its operands swapped.
func less(a, b Value) bool {
	a, b = coerce(a, b)
	if a.kind != b.kind {
		return false
	}
	switch a.kind {
	case KindBool, KindNumber:
		return a.num < b.num
	case KindString:
		return compareFold(a.str, b.str) < 0
	case KindNull, KindArray, KindObject:
		return false
	}
	return false
}

// coerce makes the kinds of two operands alike where the language does: a null or boolean beside another kind becomes
// a number, and so does a string beside a number.
func coerce(a, b Value) (Value, Value) {
	if a.kind == b.kind {
		return a, b
	}
	if a.kind == KindNull || a.kind == KindBool {
		a = Number(a.num)
	}
	if b.kind == KindNull || b.kind == KindBool {
		b = Number(b.num)
	}
	switch {
	case a.kind == KindNumber && b.kind == KindString:
		b = Number(ParseNumber(b.str))
	case a.kind == KindString && b.kind == KindNumber:
		a = Number(ParseNumber(a.str))
	}
	return a, b
}

// arrayIndex is the index that v means: floored; ok is false for what can be none.
func arrayIndex(v Value) (index int, ok bool) {
	n := math.Floor(v.Float())
	if math.IsNaN(n) || n < 0 || n > math.MaxInt32 {
		return 0, false
	}
	return int(n), true
}
