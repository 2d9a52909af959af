package variables

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Container fills in every string of a container.
func (v Values) Container(c *corev1.Container) error {
	command, args, env := c.Command, c.Args, c.Env
	c.Command, c.Args, c.Env = nil, nil, nil
	if err := v.Object(c); err != nil {
		return err
	}
	c.Command, c.Args, c.Env = slices.Clone(command), slices.Clone(args), nil
	for _, list := range [][]string{c.Command, c.Args} {
		for i := range list {
			var err error
			if list[i], err = v.expandArgument(list[i]); err != nil {
				return err
			}
		}
	}
	for _, e := range env {
		e := *e.DeepCopy()
		value, err := v.expandArgument(e.Value)
		if err == nil {
			e.Value = ""
			err = v.Object(&e)
		}
		if err != nil {
			return err
		}
		e.Value = value
		c.Env = append(c.Env, e)
	}
	return nil
}

// Object fills in every string that object points to, at any depth. It leaves values that Kubernetes has parsed
// already, such as quantities.
func (v Values) Object(object any) error {
	return v.walk(reflect.ValueOf(object), "")
}

func (v Values) walk(at reflect.Value, path string) error {
	switch at.Kind() {
	case reflect.Pointer:
		if at.IsNil() {
			return nil
		}
		return v.walk(at.Elem(), path)
	case reflect.Struct:
		return v.walkStruct(at, path)
	case reflect.Slice:
		for i := range at.Len() {
			if err := v.walk(at.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		return v.walkMap(at, path)
	case reflect.String:
		if !at.CanSet() {
			return nil
		}
		value, err := v.Expand(at.String())
		if err != nil {
			return fmt.Errorf("%s: %w", strings.TrimPrefix(path, "."), err)
		}
		at.SetString(value)
	}
	return nil
}

// walkStruct fills in the exported fields. A struct without exported fields, such as a quantity, stays as it is.
func (v Values) walkStruct(at reflect.Value, path string) error {
	for i := range at.NumField() {
		field := at.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		inner := path
		if name != "" {
			inner += "." + name
		}
		if err := v.walk(at.Field(i), inner); err != nil {
			return err
		}
	}
	return nil
}

// walkMap fills in values that are strings. Keys and other values stay as they are.
func (v Values) walkMap(at reflect.Value, path string) error {
	if at.Type().Elem().Kind() != reflect.String || at.Type().Key().Kind() != reflect.String || at.IsNil() {
		return nil
	}
	out := reflect.MakeMapWithSize(at.Type(), at.Len())
	entries := map[string]string{}
	for _, key := range at.MapKeys() {
		entries[key.String()] = at.MapIndex(key).String()
	}
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		value, err := v.Expand(entries[key])
		if err != nil {
			return fmt.Errorf("%s.%s: %w", strings.TrimPrefix(path, "."), key, err)
		}
		out.SetMapIndex(reflect.ValueOf(key).Convert(at.Type().Key()), reflect.ValueOf(value).Convert(at.Type().Elem()))
	}
	at.Set(out)
	return nil
}
