package syntax

import "github.com/slipway-ci/slipway/pipeline/expr"

// Value is the data as a value of the expression language; static is false if an expression stands anywhere in it.
func (d *Data) Value() (v expr.Value, static bool) {
	switch {
	case d.Scalar != nil:
		return d.Scalar.Value(), !d.Scalar.HasExpression()
	case d.IsList:
		static = true
		items := make([]expr.Value, len(d.List))
		for i, item := range d.List {
			var ok bool
			items[i], ok = item.Value()
			static = static && ok
		}
		return expr.Array(items), static
	}
	static = true
	o := expr.NewObject()
	for _, f := range d.Fields {
		item, ok := f.Value.Value()
		o.Set(f.Key.Text, item)
		static = static && ok
	}
	return o.Value(), static
}

// Value is the scalar's literal value, of the type that YAML gives it.
func (s *Scalar) Value() expr.Value {
	switch s.Kind {
	case NullScalar:
		return expr.Null()
	case BoolScalar:
		return expr.Bool(s.Text == "true")
	case NumberScalar:
		return expr.Number(expr.ParseNumber(s.Text))
	case StringScalar:
	}
	return expr.String(s.Text)
}

// Scalars calls visit for every scalar in the data.
func (d *Data) Scalars(visit func(*Scalar)) {
	if d.Scalar != nil {
		visit(d.Scalar)
	}
	for _, item := range d.List {
		item.Scalars(visit)
	}
	for _, f := range d.Fields {
		f.Value.Scalars(visit)
	}
}

// At returns the part of the data that a path of keys and indices leads to, or the nearest part above it.
func (d *Data) At(path []string) *Data {
	for _, key := range path {
		next := d.child(key)
		if next == nil {
			break
		}
		d = next
	}
	return d
}

func (d *Data) child(key string) *Data {
	for _, f := range d.Fields {
		if f.Key.Text == key {
			return f.Value
		}
	}
	if i := int(expr.ParseNumber(key)); d.IsList && i >= 0 && i < len(d.List) {
		return d.List[i]
	}
	return nil
}
