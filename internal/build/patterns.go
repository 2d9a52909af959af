package build

import (
	"regexp"
	"strings"
)

// patterns explains the regular expressions of fields.
var patterns = map[string]string{
	`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`: "is not a duration: write numbers with the units ms, s, m and h, " +
		"for example 90s or 1h30m",
	`^([0-9]{1,9}(y|mo|w|d|h|m))+$`: "is not a period: write whole numbers with the units y, mo, w, " +
		"d, h and m, for example 30d or 1y6mo",
	`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`: "is not a name: write lowercase letters, digits and dashes, with " +
		"a letter or digit at both ends",
	`^[A-Za-z_][A-Za-z0-9_]*$`: "is not the name of a variable: write letters, digits and " +
		"underscores, and no digit first",
	`^([a-z0-9]([-a-z0-9]*[a-z0-9])?|\$\{[A-Z_]+\})$`: "is neither the name of a volume nor a variable such as " +
		"${INTERIM_VOLUME}",
	`^(https?|ssh)://`: "is not the URL of a Git repository: it must start with https://, http:// " +
		"or ssh://",
	`^[a-z0-9]{3,24}$`: "is not the name of a storage account: write 3 to 24 lowercase letters " +
		"and digits",
	`^[0-9a-f]{40}$`:                         "is not the full hash of a commit: write its 40 hexadecimal digits",
	`^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$`: "is not a SHA-256 fingerprint: write its 32 bytes in hexadecimal",
	`^(\.?/)*(\.?[^/.][^/]*|\.\.[^/]+)(/(\.?[^/.][^/]*|\.\.[^/]+|\.)?)*$`: "is not a directory below the root: " +
		"write a path without ..",
}

var shouldMatch = regexp.MustCompile(`^should match '(.*)'$`)

// explainSchemaError explains the error of a schema whose own words need a reader of regular expressions.
func explainSchemaError(detail string) string {
	if m := shouldMatch.FindStringSubmatch(detail); m != nil {
		if s, known := patterns[m[1]]; known {
			return s
		}
	}
	if detail == "should be at least 1 chars long" {
		return "is empty"
	}
	return detail
}

// article returns a kind with its article.
func article(kind string) string {
	if strings.ContainsRune("AEIO", rune(kind[0])) {
		return "an " + kind
	}
	return "a " + kind
}
