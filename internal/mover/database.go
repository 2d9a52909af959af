package mover

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/task"
)

// database holds the Secret of a database, with which programs log in. A line break at the end of a value, which
// editors add, is dropped.
type database struct {
	name string // of the Secret
	keys map[string]string
}

// database reads the Secret. A Secret that is not mounted has no keys.
func (m *Mover) database() (database, *failure.Failure) {
	dir := m.Path(task.DatabaseDir)
	out := database{name: cmp.Or(m.databaseSecret, "of the database"), keys: map[string]string{}}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return out, noDatabaseSecret(fmt.Sprintf("Secret %s can't be read", out.name))
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "..") { // directories of the kubelet
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return out, noDatabaseSecret(fmt.Sprintf("key %s of Secret %s can't be read", e.Name(), out.name))
		}
		out.keys[e.Name()] = strings.TrimRight(string(b), "\r\n")
	}
	return out, nil
}

func noDatabaseSecret(message string) *failure.Failure {
	return failure.New(v1alpha1.ReasonDatabaseSecretNotAvailable, message)
}

// has reports whether the Secret has the key, or the key is empty.
func (d database) has(key string) bool {
	_, there := d.keys[key]
	return key == "" || there
}

// value returns the value of a required key.
func (d database) value(key string) (string, *failure.Failure) {
	v, there := d.keys[key]
	switch {
	case there:
		return v, nil
	case len(d.keys) == 0: // the kubelet mounts nothing of a Secret that does not exist
		return "", noDatabaseSecret(fmt.Sprintf("there is no Secret %s, or it is empty: it needs %s", d.name, key))
	}
	return "", noDatabaseSecret(fmt.Sprintf("Secret %s lacks %s", d.name, key))
}

// expand replaces each $(key) in text with the value of the key.
func (d database) expand(text string, escape v1alpha1.StreamEscape) (string, *failure.Failure) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$(")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		key, after, closed := strings.Cut(rest, ")")
		if !closed {
			return "", failure.New(v1alpha1.ReasonInvalidTask, "the content of a file has $( without )")
		}
		v, f := d.value(key)
		if f != nil {
			return "", f
		}
		written, err := escaped(v, escape)
		if err != nil {
			return "", noDatabaseSecret(fmt.Sprintf("key %s of Secret %s %v", key, d.name, err))
		}
		out.WriteString(written)
		text = after
	}
}

// pgPass escapes what separates the fields of a PostgreSQL password file.
var pgPass = strings.NewReplacer(`\`, `\\`, `:`, `\:`)

// optionFile escapes characters that are special inside double quotes in an option file of MariaDB or MySQL.
var optionFile = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\b", `\b`)

// escaped returns a value as its file needs it.
func escaped(v string, escape v1alpha1.StreamEscape) (string, error) {
	if strings.ContainsRune(v, 0) && escape != v1alpha1.StreamEscapeNone && escape != "" {
		return "", errors.New("holds a zero byte, which the file can't hold")
	}
	switch escape {
	case v1alpha1.StreamEscapePgPass:
		if strings.ContainsAny(v, "\r\n") {
			return "", errors.New("holds a line break, which a password file can't hold")
		}
		return pgPass.Replace(v), nil
	case v1alpha1.StreamEscapeOptionFile:
		return `"` + optionFile.Replace(v) + `"`, nil
	case v1alpha1.StreamEscapeNone, "":
		return v, nil
	}
	return "", fmt.Errorf("must be escaped as %q, which this mover does not know", escape)
}

// publicKeys lists the keys whose values are not secret. Messages can show their values.
var publicKeys = []string{
	"type", "provider", "host", "hostname", "port", "username", "user", "database", "dbname", "db",
}

// minSecretLength is the length of the shortest secret that is looked for in messages. A shorter text is part of many
// other words.
const minSecretLength = 3

// scrubber returns a function that replaces all secrets in a text, in every form in which a program received them.
func (d database) scrubber() func(string) string {
	var secrets []string
	for key, v := range d.keys {
		if slices.Contains(publicKeys, strings.ToLower(key)) {
			continue
		}
		forms := append(strings.FieldsFunc(v, func(r rune) bool { return r == '\n' || r == '\r' }),
			v, pgPass.Replace(v), optionFile.Replace(v), url.QueryEscape(v), url.PathEscape(v))
		if u, err := url.Parse(v); err == nil && u.User != nil {
			if password, ok := u.User.Password(); ok {
				forms = append(forms, password, url.QueryEscape(password), url.PathEscape(password))
			}
		}
		secrets = append(secrets, forms...)
	}
	secrets = slices.DeleteFunc(secrets, func(s string) bool { return len(s) < minSecretLength })
	// longest first: a secret can contain another
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	var pairs []string
	for _, s := range slices.Compact(secrets) {
		pairs = append(pairs, s, "***")
	}
	return strings.NewReplacer(pairs...).Replace
}
