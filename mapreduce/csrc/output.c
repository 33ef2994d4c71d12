/* What `formats` makes of keys and values in the text format: lines, with a tab between the two. */

#include "loops.h"
#include "text.h"

/* The characters that the text format escapes, and the letters behind the backslashes that stand for them. */
#define ESCAPED "\t\n\r\\"
#define LETTERS "tnr\\"

static int
append_escaped(Buffer *line, const char *text, size_t length)
{
    int escapes = 0;
    for (const char *each = ESCAPED; *each; each++)
        escapes |= memchr(text, *each, length) != NULL;
    if (!escapes)
        return append_bytes(line, text, length);
    for (size_t i = 0; i < length; i++) {
        const char *found = text[i] ? strchr(ESCAPED, text[i]) : NULL;
        char pair[2] = {'\\', found != NULL ? LETTERS[found - ESCAPED] : 0};
        if ((found != NULL ? append_bytes(line, pair, 2) : append_bytes(line, text + i, 1)) < 0)
            return -1;
    }
    return 0;
}

#define MOST_DIGITS 20

static int
append_number(Buffer *line, long long number)
{
    char digits[MOST_DIGITS], *first = digits + MOST_DIGITS;
    unsigned long long rest = number < 0 ? -(unsigned long long)number : (unsigned long long)number;
    do
        *--first = (char)('0' + rest % 10);
    while (rest /= 10);
    if (number < 0)
        *--first = '-';
    return append_bytes(line, first, (size_t)(digits + MOST_DIGITS - first));
}

/* 1 if it stands there, 0 if this is not the place to write it, -1 if there was an error. */
static int
append_item(Buffer *line, PyObject *item)
{
    int status = -1, overflow = 0;
    if (item != NULL && PyUnicode_CheckExact(item)) {
        PyObject *data = PyUnicode_AsUTF8String(item);
        if (data != NULL)
            status = append_escaped(line, PyBytes_AsString(data), (size_t)PyBytes_Size(data)) < 0 ? -1 : 1;
        else if (PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
            PyErr_Clear();
            status = 0;
        }
        Py_XDECREF(data);
        return status;
    }
    if (item == NULL || !PyLong_CheckExact(item))
        return item == NULL ? -1 : 0;
    long long number = PyLong_AsLongLongAndOverflow(item, &overflow);
    if (overflow)
        return 0;
    return append_number(line, number) < 0 ? -1 : 1;
}

PyObject *
text_lines(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *keys, *values, *result = NULL;
    if (!PyArg_ParseTuple(args, "O!O!:text_lines", &PyList_Type, &keys, &PyList_Type, &values))
        return NULL;
    Py_ssize_t length = PyList_Size(keys);
    if (PyList_Size(values) != length) {
        PyErr_SetString(PyExc_ValueError, "there is to be a value for each key");
        return NULL;
    }
    Buffer lines = {NULL, 0, 0};
    int status = 1;
    for (Py_ssize_t i = 0; i < length && status > 0; i++) {
        status = append_item(&lines, PyList_GetItem(keys, i));
        if (status > 0 && append_bytes(&lines, "\t", 1) < 0)
            status = -1;
        if (status > 0)
            status = append_item(&lines, PyList_GetItem(values, i));
        if (status > 0 && append_bytes(&lines, "\n", 1) < 0)
            status = -1;
    }
    if (status > 0)
        result = PyBytes_FromStringAndSize(lines.bytes, (Py_ssize_t)lines.length);
    else if (status == 0) {
        Py_INCREF(Py_None);
        result = Py_None;
    }
    PyMem_Free(lines.bytes);
    return result;
}
