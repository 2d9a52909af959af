package hook

import (
	"fmt"
	"reflect"
	"regexp"
	"text/template"

	"github.com/Masterminds/sprig/v3"
)

// allowedFunctions lists the sprig functions that templates can call. Missing are those that read the environment or
// the network, create keys, or turn a small input into a large output.
var allowedFunctions = []string{
	"abbrev", "add", "add1", "ago", "all", "any", "append", "atoi", "b64dec", "b64enc", "camelcase", "cat", "ceil",
	"coalesce", "compact", "concat", "contains", "date", "dateInZone", "date_in_zone", "deepEqual", "default", "dict",
	"div",
	"duration", "durationRound", "empty", "fail", "first", "float64", "floor", "fromJson", "get", "has", "hasKey",
	"hasPrefix",
	"hasSuffix", "initial", "int", "int64", "join", "kebabcase", "keys", "kindIs", "kindOf", "last", "list", "lower",
	"max",
	"min", "mod", "mul", "mustFromJson", "mustToJson", "nospace", "now", "omit", "pick", "pluck", "plural", "prepend",
	"quote",
	"regexFind", "regexMatch", "regexReplaceAll", "regexReplaceAllLiteral", "replace", "rest", "reverse", "round",
	"set",
	"sha1sum", "sha256sum", "snakecase", "sortAlpha", "split", "splitList", "splitn", "squote", "sub", "substr",
	"ternary",
	"title", "toDate", "toDecimal", "toJson", "toPrettyJson", "toRawJson", "toString", "toStrings", "trim", "trimAll",
	"trimPrefix", "trimSuffix", "trunc", "typeIs", "typeOf", "uniq", "unixEpoch", "unset", "untitle", "upper",
	"urlJoin",
	"urlParse", "uuidv4", "values", "without",
}

// The functions that count. They are inserted into each template.
const (
	iterationName = "cairnTick"
	outputName    = "cairnOutput"
)

// limits counts the work of a template.
type limits struct{ turns, spent int }

// functions returns the functions that templates can call, each with limits.
func (l *limits) functions() template.FuncMap {
	all := sprig.TxtFuncMap()
	out := template.FuncMap{
		"print": l.bounded(fmt.Sprint), "println": l.bounded(fmt.Sprintln), "printf": l.bounded(printf),
		"html": l.bounded(template.HTMLEscaper), "js": l.bounded(template.JSEscaper),
		"urlquery": l.bounded(template.URLQueryEscaper),
		iterationName: func() (string, error) {
			if l.turns++; l.turns > maxIterations {
				return "", errTooMuch
			}
			return "", nil
		},
		outputName: l.bounded(func(v any) any { return v }),
	}
	for _, name := range allowedFunctions {
		out[name] = l.bounded(all[name])
	}
	return out
}

// wideFormat matches a width or precision that would fill memory.
var wideFormat = regexp.MustCompile(`%[^a-zA-Z%]*(\d{4,}|\*)`)

func printf(format string, args ...any) (string, error) {
	if wideFormat.MatchString(format) {
		return "", errTooMuch
	}
	return fmt.Sprintf(format, args...), nil
}

// bounded wraps a function. The wrapper fails if one call takes or returns too much, or if all calls together do.
func (l *limits) bounded(function any) any {
	f := reflect.ValueOf(function)
	return reflect.MakeFunc(f.Type(), func(args []reflect.Value) []reflect.Value {
		left := maxValue
		for _, arg := range args {
			left = rest(arg, left)
		}
		if l.spent += maxValue - left; left < 0 || l.spent > maxTotalSize {
			panic(errTooMuch)
		}
		var out []reflect.Value
		if f.Type().IsVariadic() {
			out = f.CallSlice(args)
		} else {
			out = f.Call(args)
		}
		if rest(out[0], maxValue) < 0 {
			panic(errTooMuch)
		}
		return out
	}).Interface()
}

// rest subtracts the size of a value from a limit and returns what is left, a negative number if the value is too
// large. Something that occurs several times in a value counts each time, as it does when it is written.
func rest(v reflect.Value, left int) int {
	if left--; left < 0 {
		return left
	}
	switch v.Kind() {
	case reflect.String:
		return left - v.Len()
	case reflect.Interface, reflect.Pointer:
		if !v.IsNil() {
			return rest(v.Elem(), left)
		}
	case reflect.Slice, reflect.Array:
		for i := 0; i < v.Len() && left >= 0; i++ {
			left = rest(v.Index(i), left)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			if left = rest(v.MapIndex(key), rest(key, left)); left < 0 {
				break
			}
		}
	case reflect.Struct:
		for i := 0; i < v.NumField() && left >= 0; i++ {
			left = rest(v.Field(i), left)
		}
	}
	return left
}
