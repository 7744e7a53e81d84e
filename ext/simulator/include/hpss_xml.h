/* Sizes and flags of user-defined attributes. */
#ifndef HPSS_XML_H
#define HPSS_XML_H

#define HPSS_XML_SIZE 16384

#define UDA_API_VALUE 0
#define UDA_API_XML 1
#define XML_NO_ATTR 0
#define XML_ATTR 1

#endif
