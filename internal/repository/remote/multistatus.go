package remote

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/studio-b12/gowebdav"

	"github.com/cairn-backup/cairn/internal/repository"
)

// maxListing is the longest answer to a PROPFIND, in bytes. One of a hundred thousand entries is shorter.
const maxListing = 64 << 20

// wholeAnswers reads each answer to a PROPFIND whole, and refuses one that the client would use in part: it takes an
// answer that breaks off for the end of the directory, and leaves out each entry that it can't read.
type wholeAnswers struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (w wholeAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := w.RoundTripper.RoundTrip(r)
	if err == nil && leads(answer) {
		_ = answer.Body.Close()
		return nil, &repository.Error{Op: "ask the WebDAV server", Err: errors.New(
			"it redirects to another server: set the URL to the address where the files are")}
	}
	if err != nil || r.Method != "PROPFIND" || answer.StatusCode != http.StatusMultiStatus {
		return answer, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxListing+1))
	if err == nil && len(text) > maxListing {
		return nil, &repository.Error{Op: "ask the WebDAV server", Err: fmt.Errorf(
			"its list of %s has more than %d bytes: move files that are not Cairn's elsewhere", r.URL.Path, maxListing)}
	}
	var entries []davEntry
	if err == nil {
		entries, err = entriesOf(text)
	}
	if err == nil {
		err = usable(r, entries)
	}
	if errors.As(err, new(*repository.Error)) {
		return nil, err
	}
	if err != nil {
		return nil, &repository.Error{
			Op: "ask the WebDAV server", Kind: repository.ErrUnreachable,
			Err: fmt.Errorf("its list of %s is not whole: %w", r.URL.Path, err),
		}
	}
	answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	return answer, nil
}

// leads reports whether an answer redirects to another server. The client would follow.
func leads(answer *http.Response) bool {
	to, err := answer.Location()
	return answer.StatusCode >= 300 && answer.StatusCode < 400 && err == nil &&
		(to.Host != answer.Request.URL.Host || to.Scheme != answer.Request.URL.Scheme)
}

// davEntry is what a server says of one file or directory.
type davEntry struct {
	Href   string `xml:"DAV: href"`
	Status string `xml:"DAV: status"`
	Props  []struct {
		Status string `xml:"DAV: status"`
	} `xml:"DAV: propstat"`
}

// errNoList stands for the errors of the decoder, which quote the answer.
var errNoList = errors.New("it is not the XML of WebDAV")

// entriesOf reads an answer up to its end.
func entriesOf(text []byte) ([]davEntry, error) {
	d := xml.NewDecoder(bytes.NewReader(text))
	var all struct {
		XMLName xml.Name   `xml:"DAV: multistatus"`
		Entries []davEntry `xml:"DAV: response"`
	}
	if err := d.Decode(&all); errors.Is(err, io.EOF) {
		return nil, io.ErrUnexpectedEOF
	} else if err != nil {
		return nil, errNoList
	}
	for {
		switch t, err := d.Token(); {
		case errors.Is(err, io.EOF):
			return all.Entries, nil
		case err != nil:
			return nil, errNoList
		default:
			if _, more := t.(xml.StartElement); more {
				return nil, errors.New("something follows after its end")
			}
		}
	}
}

// usable reports why the client can't use an answer. It takes the first entry of a directory for the directory itself.
func usable(r *http.Request, entries []davEntry) error {
	if len(entries) == 0 {
		return errors.New("it has no entry")
	}
	for i, e := range entries {
		if i > 0 && r.Header.Get("Depth") == "1" && e.isAt(r.URL) && !entries[0].isAt(r.URL) {
			return errors.New("it does not begin with the directory")
		}
		if err := e.refused(); err != nil {
			return err
		}
	}
	return nil
}

// isAt reports whether the entry has the path of a URL.
func (e *davEntry) isAt(u *url.URL) bool {
	at, err := url.Parse(strings.TrimSpace(e.Href))
	return err == nil && strings.TrimSuffix(at.Path, "/") == strings.TrimSuffix(u.Path, "/")
}

// refused returns the error of an entry of which the server tells nothing, unless it is gone.
func (e *davEntry) refused() error {
	statuses := []string{e.Status}
	for _, p := range e.Props {
		if strings.Contains(p.Status, "200") { // as the client looks for it
			return nil
		}
		statuses = append(statuses, p.Status)
	}
	for _, status := range statuses {
		fields := append(strings.Fields(status), "", "")
		code, _ := strconv.Atoi(fields[1])
		switch {
		case code == http.StatusNotFound || code == http.StatusGone:
			return nil
		case code >= http.StatusBadRequest:
			return fmt.Errorf("an entry of it: %w", statusError(gowebdav.StatusError{Status: code}))
		}
	}
	return errors.New("it says nothing of an entry")
}
