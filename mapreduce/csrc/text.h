/* Keys as UTF-8, and bytes to which more can be appended. */

#ifndef MAPREDUCE_TEXT_H
#define MAPREDUCE_TEXT_H

#include "loops.h"

/* The UTF-8 of a str, of lone surrogates as well. */
static inline PyObject *
utf8(PyObject *key)
{
    if (key == NULL) /* the list has become shorter meanwhile */
        return NULL;
    PyObject *data = PyUnicode_AsUTF8String(key);
    if (data == NULL && PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
        PyErr_Clear();
        data = PyUnicode_AsEncodedString(key, "utf-8", "surrogatepass");
    }
    return data;
}

/* And back. */
static inline PyObject *
str_of_utf8(const char *bytes, size_t length)
{
    return PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)length, "surrogatepass");
}

/* Bytes, to which more can be appended. */
typedef struct {
    char *bytes;
    size_t length, room;
} Buffer;

static inline int
append_bytes(Buffer *buffer, const char *bytes, size_t length)
{
    if (length >= buffer->room - buffer->length) { /* there are bytes then, even if nothing is appended */
        size_t room = 2 * buffer->room + length + 1;
        char *more = PyMem_Realloc(buffer->bytes, room);
        if (more == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        buffer->bytes = more;
        buffer->room = room;
    }
    memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
    return 0;
}

#endif
