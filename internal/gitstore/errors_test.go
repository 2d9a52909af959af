package gitstore

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	. "github.com/onsi/gomega"
)

// TestClassify lists every observed text with its origin.
func TestClassify(t *testing.T) {
	no := func(reason string) error { return &refusal{reason: reason} }
	line := func(text string) error { return &pktline.ErrorLine{Text: text} }
	for name, tc := range map[string]struct {
		err  error
		want error
	}{
		"C git, stale old value": {no("failed to update ref"), errMoved},
		"C git, two pushes":      {no("cannot lock ref 'refs/heads/x': is at 1 but expected 2"), errMoved},
		"C git, two creations":   {no("reference already exists"), errMoved},
		"C git, newer":           {no("incorrect old value provided"), errMoved},
		"C git, config":          {no("non-fast-forward"), errMoved},
		"push client wording":    {no("fetch first"), errMoved},
		"lease wording":          {no("stale info"), errMoved},
		"update hook":            {no("hook declined"), ErrRefused},
		"pre-receive hook":       {no("pre-receive hook declined"), ErrRefused},
		"GitHub branch rule":     {no("protected branch hook declined"), ErrRefused},
		"GitLab branch rule": {
			no("You are not allowed to push code to protected branches on this project."),
			ErrRefused,
		},
		"C git, quota": {no("unpack: unpacker error"), ErrRefused},
		"C git, size": {
			&refusal{"unpack: index-pack abnormal exit", "fatal: pack exceeds maximum allowed size (1.00 MiB)"},
			ErrPushTooLarge,
		},
		"C git, fsck":               {no("unpack: index-pack abnormal exit"), ErrRefused},
		"C git, missing objects":    {no("missing necessary objects"), ErrRefused},
		"git daemon, no repository": {fmt.Errorf("empty input: no such repository"), ErrNoRepository},
		"C git over SSH, no repository": {
			fmt.Errorf("empty input: fatal: '/x' does not appear to be a git repository"),
			ErrNoRepository,
		},
		"GitHub over SSH": {line("Repository not found."), ErrNoRepository},
		"GitLab over SSH": {line("The project you were looking for could not be found"), ErrNoRepository},
		"Gitea over SSH":  {fmt.Errorf("empty input: Gitea: Cannot find repository: a/b"), ErrNoRepository},
		"SSH, no key accepted": {
			errors.New("ssh: handshake failed: ssh: unable to authenticate, attempted methods [none publickey]"),
			ErrAuth,
		},
		"SSH, unknown host": {errors.New("ssh: handshake failed: knownhosts: key is unknown"), ErrHostKey},
		"SSH, changed host": {errors.New("ssh: handshake failed: knownhosts: key mismatch"), ErrHostKey},
		"SSH, host key of another type": {
			errors.New("ssh: handshake failed: ssh: no common algorithm for host key; client offered: [x], server " +
				"offered: [y]"),
			ErrHostKey,
		},
		"C git, commit that no ref has": {line("upload-pack: not our ref 1234"), ErrNotServed},
		"HTTP 401":                      {&httpStatus{code: 401}, ErrAuth},
		"HTTP 403":                      {&httpStatus{code: 403}, ErrAuth},
		"HTTP 404":                      {&httpStatus{code: 404}, ErrNoRepository},
		"HTTP 413":                      {&httpStatus{code: 413}, ErrPushTooLarge},
		"HTTP 429":                      {&httpStatus{code: 429}, ErrUnreachable},
		"HTTP 502":                      {&httpStatus{code: 502}, ErrUnreachable},
		"refused connection": {
			&url.Error{Op: "Get", URL: "x", Err: errors.New("connect: connection refused")},
			ErrUnreachable,
		},
		"cut reply":                    {fmt.Errorf("read report: %w", io.ErrUnexpectedEOF), ErrUnreachable},
		"standard error in the report": {fmt.Errorf("read report: %w", pktline.ErrInvalidPktLen), ErrUnreachable},
		"deadline":                     {context.DeadlineExceeded, context.DeadlineExceeded},
		"too large":                    {fmt.Errorf("read pack: %w", ErrTooLarge), ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			err := (&Remote{}).classify("push", tc.err)
			NewWithT(t).Expect(err).To(MatchError(tc.want))
		})
	}
}

func TestScrub(t *testing.T) {
	g := NewWithT(t)
	s := newSecrets(Auth{Username: user, Password: password, BearerToken: "bear"})
	for _, form := range []string{
		password, url.QueryEscape(password), url.PathEscape(password), "bear",
		base64.StdEncoding.EncodeToString([]byte(user + ":" + password)),
		base64.StdEncoding.EncodeToString([]byte(password)),
	} {
		g.Expect(s.scrub("x "+form+" y")).To(Equal("x *** y"), form)
	}
	g.Expect(s.scrub("to https://a:b@host/x and HTTP://tok@h")).To(Equal("to https://***@host/x and HTTP://***@h"))
	g.Expect(s.scrub("a\x1b[31m\nremote: b\r\n\n c\u202e\xff")).To(Equal("a[31m; remote: b; c?"))
	g.Expect(
		s.scrub(
			`Get "http://h/x/info/refs?service=git-upload-pack": read tcp ` +
				`10.0.0.1:53412->10.0.0.2:80: read: connection reset by peer`)).
		To(Equal("read tcp 10.0.0.2:80: read: connection reset by peer"))
	g.Expect(s.scrub("lookup h on 10.0.0.10:53: read udp [fd00::1]:41234->[fd00::a]:53: i/o timeout")).
		To(Equal("lookup h on 10.0.0.10:53: read udp [fd00::a]:53: i/o timeout"))
	long := s.scrub(strings.Repeat("ä", 4000))
	g.Expect(len(long)).To(BeNumerically("<=", maxMessage))
	g.Expect(strings.Trim(long, "ä")).To(BeEmpty())
}
