/* Makes the ranks of keys that are all str, bytes, int or float itself: their order is that of the keys. */

#include "rank.h"

/* that stand in a rank's head */
#define HEAD_BYTES 8
/* of a character in UTF-8 */
#define MOST_BYTES 4

/* The UTF-8 of a character, also of a lone surrogate, and how many bytes that is: their order is that of characters. */
static int
put_utf8(unsigned char *at, Py_UCS4 character)
{
    if (character < 0x80) {
        at[0] = (unsigned char)character;
        return 1;
    }
    int more = character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
    for (int i = more; i > 0; i--, character >>= 6)
        at[i] = (unsigned char)(0x80 | (character & 0x3F));
    at[0] = (unsigned char)(0x780 >> more | character);
    return more + 1;
}

/* By all of a text with no more than RANK_BYTES: where two ranks are equal, and not LONGER, so are the texts. Zeros
 * stand for what a text does not have, so those that differ in zeros at their ends only differ in their length. */
static void
rank_text(Rank *rank, const unsigned char *text, Py_ssize_t length)
{
    unsigned char first[HEAD_BYTES + 4] = {0};
    memcpy(first, text, (size_t)(length < RANK_BYTES ? length : RANK_BYTES));
    first[RANK_BYTES] = (unsigned char)(length < LONGER ? length : LONGER);
    rank->head = 0;
    for (int i = 0; i < HEAD_BYTES; i++)
        rank->head = rank->head << 8 | first[i];
    rank->rest = 0;
    for (int i = HEAD_BYTES; i < HEAD_BYTES + 4; i++)
        rank->rest = rank->rest << 8 | first[i];
}

static void
rank_str(Rank *rank, PyObject *key, Py_ssize_t start)
{
    unsigned char text[RANK_BYTES + MOST_BYTES];
    Py_ssize_t end = PyUnicode_GetLength(key), length = 0;
    for (Py_ssize_t i = start; i < end && length <= RANK_BYTES; i++)
        length += put_utf8(text + length, PyUnicode_ReadChar(key, i));
    rank_text(rank, text, length);
}

#define SIGN (UINT64_C(1) << 63)

/* 0 if the int has more than 64 bits. */
static int
rank_int(Rank *rank, PyObject *key)
{
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(key, &overflow);
    rank->head = (uint64_t)number ^ SIGN;
    rank->rest = 0;
    return !overflow;
}

/* 0 if it is not a number. The bits of IEEE 754 are in order, but for those of negative numbers, which are in reverse. */
static int
rank_float(Rank *rank, PyObject *key)
{
    double number = PyFloat_AsDouble(key) + 0.0; /* -0.0 is 0.0 then */
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    rank->head = bits & SIGN ? ~bits : bits | SIGN;
    rank->rest = 0;
    return number == number;
}

static int
rank_one(PyTypeObject *kind, Rank *rank, PyObject *key, Py_ssize_t start)
{
    if (kind == &PyLong_Type)
        return rank_int(rank, key);
    if (kind == &PyFloat_Type)
        return rank_float(rank, key);
    if (kind == &PyUnicode_Type)
        rank_str(rank, key, start);
    else if (kind == &PyBytes_Type)
        rank_text(rank, (const unsigned char *)PyBytes_AsString(key) + start, PyBytes_Size(key) - start);
    else
        return 0;
    return 1;
}

int
rank_all(PyObject *keys, PyTypeObject *kind, Rank *ranks, size_t count, Py_ssize_t start)
{
    for (size_t i = 0; i < count; i++) {
        if (i + AHEAD < count)
            fetch_text(PyList_GetItem(keys, ranks[i + AHEAD].position));
        PyObject *key = PyList_GetItem(keys, ranks[i].position);
        if (Py_TYPE(key) != kind || !rank_one(kind, &ranks[i], key, start))
            return 0;
    }
    return 1;
}

Py_ssize_t
items_ranked(PyObject *keys, PyTypeObject *kind, Rank rank, Py_ssize_t start)
{
    if (kind != &PyUnicode_Type)
        return RANK_BYTES;
    PyObject *key = PyList_GetItem(keys, rank.position);
    unsigned char text[MOST_BYTES];
    Py_ssize_t items = 0, length = 0;
    while ((length += put_utf8(text, PyUnicode_ReadChar(key, start + items))) <= RANK_BYTES)
        items++;
    return items;
}
