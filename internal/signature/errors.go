package signature

import "fmt"

// Error says why an object or a key is not accepted. It completes a sentence that begins with the name of the object
// ("commit 1234 …"), and says what to do.
type Error struct{ Message string }

// Error returns the end of the sentence.
func (e *Error) Error() string { return e.Message }

func refuse(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// The sentences about signatures. The verb is the name of the key.
const (
	unsigned  = "has no signature: sign it with a trusted key"
	several   = "has more than one signature: sign it once, with a trusted key"
	unknown   = "is signed with %s, which is not trusted: sign it with a trusted key, or add this key to them"
	tooLarge  = "is larger than %d bytes, so its signature is not verified: shorten its message"
	different = "has a signature of %s that does not fit the content: sign it again, and find out who has changed it"
)

// unreadable refuses a signature that can't be parsed. why never has its content.
func unreadable(why string) error {
	return refuse("has a signature that can't be read (%s): sign it again with a trusted key", why)
}
